import { createHash } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { InvalidRequest, UnknownJob, throwIfCancelled } from "../api/errors.ts";
import type { BatchAnswer, BatchRequest, BatchSummary, Batches, PlannedStep } from "../api/facade-batches.ts";
import { advice } from "../api/next-step.ts";
import type { GenerateRequest } from "../api/facade.ts";
import type { CallerContext, Operation, Privacy } from "../api/types.ts";
import type { GenerationWorld } from "../generation/runner.ts";
import type { OperationContext, Operations } from "../jobs/operations.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { defined } from "../util/values.ts";
import { counted } from "../util/format-bytes.ts";
import { createMutex } from "../util/joined-work.ts";
import { isNo, marksIn } from "../util/placeholders.ts";
import { failureText } from "./ask-model.ts";
import { askOpen, promptsOf } from "./batch-run.ts";
import {
  checkedPrompts,
  checkedSteps,
  failureOf,
  givenBy,
  plannedSteps,
  stepNow,
  valueOf,
  waitsFor,
} from "./batch-steps.ts";
import { type BatchHead, type KeptAnswer, type KeptStep, lastAnswers, openBatch, shownAnswers } from "./batch-store.ts";

const examples = 3;
/** How often a batch that waits looks whether it may go on. */
const lookMs = 2_000;

interface BatchesDeps {
  readonly world: GenerationWorld;
  readonly operations: Operations;
  readonly files?: DocumentFiles | undefined;
  readonly onBattery?: (() => Promise<boolean>) | undefined;
  /** That of the settings now: the caller's may be older. */
  readonly privacy: () => Privacy;
  /** Applies the caller's privacy to the work. */
  readonly serving: <Result>(caller: Pick<CallerContext, "settings">, work: () => Result) => Result;
}

type BatchDocument = Awaited<ReturnType<typeof openBatch>>;

/** Batches, each in a document of its own, which is removed with its job. */
export class KeptBatches implements Batches<GenerateRequest> {
  readonly #deps: BatchesDeps;
  readonly #opened = new Map<string, { readonly document: BatchDocument; users: number }>();
  readonly #exclusive = createMutex();

  constructor(deps: BatchesDeps) {
    this.#deps = deps;
  }

  async items(...given: Parameters<Batches<GenerateRequest>["items"]>) {
    return (await this.#deps.world.reader()).items(...given);
  }

  async start(caller: CallerContext, asked: BatchRequest<GenerateRequest>): Promise<Operation<BatchSummary>> {
    const { world, operations, serving } = this.#deps;
    const { pipeline, skip } = asked;
    const written = checkedSteps(asked);
    const wanted = written.filter(({ name }) => skip?.includes(name) !== true);
    for (const { request, when } of wanted) {
      if (request.model !== undefined) await world.inventory.locate(request.model);
      if (when !== undefined && !isNo(when) && marksIn(when).length === 0)
        await waitsFor(when, new Date(world.now()), idleMachine);
    }
    const planned = wanted.length < 2 ? undefined : await this.#planned(caller, written, skip);
    const steps = planned?.map(({ step }) => step) ?? written;
    // The texts of one prompt tell batches apart, and how many of them are asked doesn't; of a pipeline everything does.
    const [{ request, items, questions }] = written as [KeptStep];
    const texts = written.map(({ when: _when, onFail: _onFail, output: _output, ...step }) => step);
    const told = pipeline === undefined ? [request, items, questions] : [pipeline, texts];
    const id = `batch-${digestOf(told).slice(0, 12)}`;
    const { signal: _signal, configured: _configured, warnings: _warnings, ...own } = caller;
    const head: BatchHead = {
      createdAt: new Date(world.now()).toISOString(),
      title: titleOf(asked),
      caller: own,
      steps: [...steps],
      written: written.map(({ name }) => name),
      ...defined({ pipeline, skip: skip && [...skip] }),
      kept: 0,
    };
    // One that was cancelled may still have to end.
    const before = operations.running().find((each) => each.id === id);
    if (before?.isAborted() === true) await operations.ended(id);
    const kept = await this.#with(id, ({ state }) => {
      const isRunning = operations.running().some((each) => each.id === id);
      if (isRunning && state.head !== undefined && JSON.stringify(howOf(state.head)) !== JSON.stringify(howOf(head))) {
        throw new InvalidRequest(`${id} is running, with another sample, limit, reduce, when or skip`, {
          next: advice("wait for it, or cancel it"),
        });
      }
      const counts = steps.map((step) => {
        const known = lastAnswers(state, step.name);
        const prompts =
          step.over === undefined
            ? promptsOf(step)
                .flat()
                .map(({ prompt }) => prompt)
            : [...known.keys()];
        return prompts.filter((prompt) => isAnswered(step, known, prompt)).length;
      });
      return Promise.resolve(counts.reduce((sum, count) => sum + count, 0));
    });
    return serving(caller, () => this.#run(id, caller, { ...head, kept }));
  }

  async plan(caller: CallerContext, asked: BatchRequest<GenerateRequest>): Promise<readonly PlannedStep[]> {
    const planned = await this.#planned(caller, checkedSteps(asked), asked.skip);
    return planned.flatMap((step) => step.planned ?? []);
  }

  #planned(caller: CallerContext, steps: readonly KeptStep[], skip?: readonly string[]) {
    return this.#deps.serving(caller, () => plannedSteps(this.#deps.world, caller, steps, skip));
  }

  /** Continues a batch of an earlier daemon, for the caller who began it. Throws `UnknownJob`. */
  async resume(id: string): Promise<Operation<BatchSummary>> {
    const head = await this.#with(id, ({ state }) => Promise.resolve(state.head));
    if (head === undefined) throw textsLost(id);
    const { caller } = head;
    const isLocal = this.#deps.privacy() === "local_only";
    const who = isLocal ? { ...caller, settings: { ...caller.settings, privacy: "local_only" as const } } : caller;
    return this.#deps.serving(who, () => this.#run(id, who));
  }

  async results(_caller: CallerContext, id: string): Promise<readonly BatchAnswer[]> {
    const isId = /^batch-[0-9a-f]{12}$/.test(id);
    const found = isId ? await this.#with(id, ({ state }) => Promise.resolve({ ...state })) : undefined;
    if (found?.head !== undefined) return shownAnswers(found);
    throw new UnknownJob(`no batch ${id}`, { next: { step: "listJobs" } });
  }

  /** Opens the document of a batch while `work` runs; the last of its users closes it, which trims its journal. */
  async #with<Result>(id: string, work: (document: BatchDocument) => Promise<Result>): Promise<Result> {
    const { world, files } = this.#deps;
    const entry = await this.#exclusive(async () => {
      const found = this.#opened.get(id) ?? { document: await openBatch(id, world.log, files), users: 0 };
      this.#opened.set(id, found);
      found.users += 1;
      return found;
    });
    try {
      return await work(entry.document);
    } finally {
      await this.#exclusive(async () => {
        entry.users -= 1;
        // Without a disk there is nothing to read it from again.
        if (entry.users > 0 || files === undefined) return;
        this.#opened.delete(id);
        await entry.document.close();
      });
    }
  }

  /** Takes one step after the other, and asks what is open of each. */
  #run(id: string, who: BatchHead["caller"], started?: BatchHead): Operation<BatchSummary> {
    const { world, operations } = this.#deps;
    const spec = { kind: "batch", title: started?.title ?? id, id, key: id, client: who.client } as const;
    return operations.start(spec, (context) =>
      this.#with(id, async (document) => {
        const caller = { ...who, signal: context.signal };
        if (started !== undefined) await document.append({ type: "started", head: started });
        const { head } = document.state;
        if (head === undefined) throw textsLost(id);
        const startedAtMs = world.steady();
        const ran: StepRun[] = [];
        const isOpen = head.endedAt === undefined;
        for (const step of head.steps) {
          const { name } = step;
          const now = head.skip?.includes(name) === true ? { skipped: "as asked" } : stepNow(step, givenBy(ran));
          const digest = "skipped" in now ? "" : digestOf([now.request, now.items, now.questions]);
          // Answers to something else are no longer its answers.
          if (isOpen) await document.append({ type: "asked", step: name, digest });
          if ("skipped" in now) ran.push({ step, asked: 0, answers: [], skipped: now.skipped });
          else ran.push({ step, ...(await this.#askStep(document, now, { id, head, caller, context })) });
          if (ran.at(-1)?.stopped !== undefined) break;
        }
        const last = ran.at(-1);
        const stopped = last?.stopped === undefined ? undefined : { step: last.step.name, why: last.stopped };
        if (isOpen)
          await document.append({ type: "ended", at: new Date(world.now()).toISOString(), ...defined({ stopped }) });
        return summaryOf(id, head, ran, Math.round((world.steady() - startedAtMs) / 1000));
      }),
    );
  }

  async #askStep(
    document: BatchDocument,
    step: KeptStep,
    { id, head, caller, context }: { id: string; head: BatchHead; caller: CallerContext; context: OperationContext },
  ): Promise<Omit<StepRun, "step">> {
    const prompts = promptsOf(step);
    const all = new Set(prompts.flat().map(({ prompt }) => prompt));
    const known = lastAnswers(document.state, step.name);
    // One that has ended has no texts any more.
    const open = prompts
      .map((each) => (head.endedAt === undefined ? each.filter(({ prompt }) => !isAnswered(step, known, prompt)) : []))
      .filter((each) => each.length > 0);
    const named: OperationContext =
      head.steps.length === 1
        ? context
        : {
            ...context,
            report: ({ message, ...rest }) => context.report({ message: `${step.name}: ${message}`, ...rest }),
          };
    let stopped = head.stopped?.step === step.name ? head.stopped.why : undefined;
    try {
      checkedPrompts(step);
      stopped ??= await askOpen(open, {
        world: this.#deps.world,
        caller,
        step,
        context: named,
        counts: { total: all.size, answered: all.size - open.flat().length },
        keep: (answer) => document.append({ type: "answered", answer }),
        turn: (report) => this.#turn(step.when, id, named, report),
      });
    } catch (error) {
      if (head.steps.length === 1) throw error;
      throwIfCancelled(context.signal, "the batch");
      stopped = failureText(error, this.#deps.world, context.signal);
    }
    const answers = [...lastAnswers(document.state, step.name).values()].filter(({ prompt }) => all.has(prompt));
    // What builds on nothing is not asked; a batch about many texts says itself what failed.
    if (head.pipeline !== undefined || step.name !== head.written[0]) stopped ??= failureOf(answers);
    return { asked: all.size, answers, ...defined({ stopped }) };
  }

  /** Resolves when the next prompt may be asked. */
  async #turn(when: string | undefined, id: string, { signal }: OperationContext, report: (why: string) => void) {
    const { world, operations, onBattery = idleMachine.onBattery } = this.#deps;
    const isBusy = (): boolean =>
      operations.running().some((each) => each.id !== id && (each.kind === "generate" || each.kind === "compare"));
    for (;;) {
      const why = await waitsFor(when, new Date(world.now()), { isBusy, onBattery });
      if (why === undefined) return;
      report(why);
      await setTimeout(lookMs, undefined, { signal, ref: false }).catch(() => throwIfCancelled(signal, "the batch"));
    }
  }
}

/** What came of a step. */
interface StepRun {
  readonly step: KeptStep;
  readonly asked: number;
  readonly answers: readonly KeptAnswer[];
  /** Why it is the last one. */
  readonly stopped?: string;
  readonly skipped?: string;
}

const idleMachine = { isBusy: () => false, onBattery: () => Promise.resolve(false) };

function isAnswered({ onFail }: KeptStep, known: ReadonlyMap<number, KeptAnswer>, prompt: number): boolean {
  const { state = "failed" } = known.get(prompt) ?? {};
  return state !== "failed" && !(state === "doubtful" && (onFail === "stop" || onFail === "ask"));
}

function textsLost(id: string): UnknownJob {
  return new UnknownJob(`the texts of ${id} are lost`, { next: { step: "retry" } });
}

function digestOf(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}

/** What may differ between calls about the same texts. */
function howOf({ pipeline, steps: [first, ...rest], skip }: BatchHead): readonly unknown[] {
  return pipeline === undefined ? [first?.sample, first?.limit, first?.when ?? "now", rest] : [skip];
}

function titleOf({ pipeline, steps: [first] }: BatchRequest<GenerateRequest>): string {
  if (pipeline !== undefined) return `run pipeline ${pipeline}`;
  const { items = [], questions = [] } = first ?? {};
  const asked = questions.length > 1 ? `${questions.length} questions about each of ` : "";
  return `ask ${asked}${counted(items.length, "text")}`;
}

function summaryOf(id: string, head: BatchHead, ran: readonly StepRun[], seconds: number): BatchSummary {
  const { pipeline, kept, steps } = head;
  const shown = pipeline === undefined ? ran.slice(0, 1) : ran;
  const answers = shown.flatMap((each) => each.answers);
  const failures = new Map<string, string[]>();
  for (const { state, why = "", item } of answers)
    if (state === "failed") failures.set(why, [...(failures.get(why) ?? []), item]);
  const good = shownAnswers({ head: { ...head, steps: shown.map(({ step }) => step) }, asked: {}, answers }).filter(
    ({ state }) => state === "done",
  );
  const share = Math.max(1, Math.floor(good.length / examples));
  const unskipped = (name: string) => ran.find((each) => each.step.name === name && each.skipped === undefined);
  const [answering] = (pipeline === undefined ? head.written.slice(1) : head.written.toReversed()).flatMap(
    (name) => unskipped(name) ?? [],
  );
  const stopped = ran.find((each) => each.stopped !== undefined);
  const at = steps.length === 1 ? "" : ` at ${stopped?.step.name}`;
  const asks = stopped?.step.onFail === "ask" ? stopped.step.name : undefined;
  return {
    id,
    models: [...new Set(ran.flatMap((each) => each.answers.flatMap(({ model }) => model ?? [])))],
    counts: { ...countsOf(shown, kept), seconds },
    steps: ran.map((each) => ({
      step: each.step.name,
      counts: countsOf([each], 0),
      ...defined({ skipped: each.skipped }),
    })),
    failures: [...failures]
      .toSorted(([, a], [, b]) => b.length - a.length)
      .map(([why, [first = "", ...more]]) => `${why} (${first}${more.length === 0 ? "" : ` and ${more.length} more`})`),
    examples: good.filter((_, place) => place % share === 0).slice(0, examples),
    outputs: steps.flatMap(({ output }) => output ?? []),
    notes: [
      ...(stopped === undefined ? [] : [`stopped${at}: ${stopped.stopped}; the same call continues`]),
      ...ran.flatMap(({ step, skipped }) => (skipped === undefined ? [] : [`${step.name} was skipped: ${skipped}`])),
    ],
    ...defined({
      pipeline,
      stopped: stopped?.step.name,
      asks,
      text: stopped === undefined && answering ? valueOf(answering.step, answering.answers) : undefined,
    }),
  };
}

function countsOf(ran: readonly StepRun[], kept: number): Readonly<Record<string, number>> {
  const answers = ran.flatMap((each) => each.answers);
  const asked = ran.reduce((sum, each) => sum + each.asked, 0);
  const of = (state: KeptAnswer["state"]): number => answers.filter((each) => each.state === state).length;
  const sum = (of_: "promptTokens" | "completionTokens") => answers.reduce((all, each) => all + (each[of_] ?? 0), 0);
  const rest = { empty: of("empty"), doubtful: of("doubtful"), failed: of("failed") };
  const some = Object.entries({ ...rest, open: Math.max(0, asked - answers.length), kept }).filter(
    ([, count]) => count > 0,
  );
  const tokens = { prompt_tokens: sum("promptTokens"), completion_tokens: sum("completionTokens") };
  return { asked, done: of("done"), ...Object.fromEntries(some), ...tokens };
}
