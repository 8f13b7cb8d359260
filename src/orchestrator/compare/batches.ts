import { createHash } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { InvalidRequest, UnknownJob, throwIfCancelled } from "../api/errors.ts";
import type { BatchAnswer, BatchRequest, BatchSummary, Batches } from "../api/facade-batches.ts";
import { advice } from "../api/next-step.ts";
import type { GenerateRequest } from "../api/facade.ts";
import type { CallerContext, Operation, Privacy } from "../api/types.ts";
import { type GenerationWorld, runGeneration } from "../generation/runner.ts";
import type { OperationContext, Operations } from "../jobs/operations.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { defined } from "../util/defined.ts";
import { counted } from "../util/format-bytes.ts";
import { createMutex } from "../util/joined-work.ts";
import { failureText } from "./ask-model.ts";
import { BatchRun, promptsOf } from "./batch-run.ts";
import { type BatchHead, type KeptAnswer, lastAnswers, openBatch, shownAnswers } from "./batch-store.ts";
import { waitsFor } from "./batch-when.ts";

const maxPrompts = 10_000;
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
    const { request, items, questions, ...how } = asked;
    if (request.model !== undefined) await world.inventory.locate(request.model);
    await waitsFor(how.when, new Date(world.now()), idleMachine);
    const digest = createHash("sha256")
      .update(JSON.stringify([request, items, questions]))
      .digest("hex");
    const id = `batch-${digest.slice(0, 12)}`;
    const { signal: _signal, configured: _configured, warnings: _warnings, ...own } = caller;
    const head: BatchHead = {
      createdAt: new Date(world.now()).toISOString(),
      title: titleOf(asked),
      request,
      items: [...items],
      caller: own,
      ...defined({ questions: questions && [...questions] }),
      ...how,
      kept: 0,
    };
    const prompts = checkedPrompts(head);
    // One that was cancelled may still have to end.
    const before = operations.running().find((each) => each.id === id);
    if (before?.isAborted() === true) await operations.ended(id);
    const kept = await this.#with(id, ({ state }) => {
      const known = lastAnswers(state);
      const isRunning = operations.running().some((each) => each.id === id);
      if (isRunning && state.head !== undefined && JSON.stringify(howOf(state.head)) !== JSON.stringify(howOf(head))) {
        throw new InvalidRequest(`${id} is running, about the same texts with another sample, limit, reduce or when`, {
          next: advice("wait for it, or cancel it"),
        });
      }
      return Promise.resolve(prompts.filter((each) => isAnswered(known, each)).length);
    });
    return serving(caller, () => this.#run(id, caller, { ...head, kept }));
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

  /** Asks what is open of a batch, then about all answers. */
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
        const prompts = promptsOf(head);
        const all = new Set(prompts.flat().map(({ prompt }) => prompt));
        const known = lastAnswers(document.state);
        // One that has ended has no texts any more.
        const open = prompts
          .map((each) => (head.endedAt === undefined ? each.filter((asked) => !isAnswered(known, asked)) : []))
          .filter((each) => each.length > 0);
        const run = new BatchRun(
          {
            world,
            caller,
            head,
            context,
            keep: (answer) => document.append({ type: "answered", answer }),
            turn: (report) => this.#turn(head.when, id, context, report),
          },
          { total: all.size, answered: all.size - open.flat().length },
        );
        const stopped = await run.ask(open);
        const answers = [...lastAnswers(document.state).values()].filter(({ prompt }) => all.has(prompt));
        const shown = shownAnswers({ head, answers });
        const { reduced, failure } = stopped === undefined ? await this.#reduced(head, shown, caller, context) : {};
        await document.append({ type: "ended", at: new Date(world.now()).toISOString() });
        const notes = [
          ...(stopped === undefined ? [] : [`stopped: ${stopped}; the same call continues`]),
          ...(failure === undefined ? [] : [`reduce failed: ${failure}; the same call asks it again`]),
        ];
        const seconds = Math.round((world.steady() - startedAtMs) / 1000);
        const { output } = head;
        const counts = { asked: all.size, kept: head.kept, seconds };
        return { id, ...summaryOf(answers, shown, counts), notes, ...defined({ reduced, output }) };
      }),
    );
  }

  /** Resolves when the next prompt may be asked. */
  async #turn(
    when: string | undefined,
    id: string,
    { signal }: OperationContext,
    report: (why: string) => void,
  ): Promise<void> {
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

  /** The answer to `reduce`, which is asked about all answers. */
  async #reduced(
    { request, reduce: prompt }: BatchHead,
    answers: readonly BatchAnswer[],
    caller: CallerContext,
    context: OperationContext,
  ): Promise<{ readonly reduced?: string; readonly failure?: string }> {
    if (prompt === undefined) return {};
    const texts = answers
      .filter(({ state }) => state === "done" || state === "doubtful")
      .map(({ item, question, text = "" }) => `## ${[item, question].filter(Boolean).join(": ")}\n${text.trim()}`);
    if (texts.length === 0) return { failure: "no text has an answer" };
    const { model, system, privacy, maxTokens } = request;
    const asked = { prompt, ...defined({ model, system, privacy, maxTokens }), useMemory: false };
    const files = [{ path: "answers.md", text: texts.join("\n\n") }];
    const world = { ...this.#deps.world, isBackground: true };
    try {
      return { reduced: (await runGeneration(world, caller, { ...asked, files }, context)).text };
    } catch (error) {
      throwIfCancelled(context.signal, "the batch");
      return { failure: failureText(error, world, context.signal) };
    }
  }
}

const idleMachine = { isBusy: () => false, onBattery: () => Promise.resolve(false) };

function isAnswered(known: ReadonlyMap<number, KeptAnswer>, { prompt }: { readonly prompt: number }): boolean {
  return (known.get(prompt)?.state ?? "failed") !== "failed";
}

function textsLost(id: string): UnknownJob {
  return new UnknownJob(`the texts of ${id} are lost`, { next: { step: "retry" } });
}

/** All prompts of a batch. Throws `InvalidRequest` for none, and too many. */
function checkedPrompts(head: BatchHead): ReturnType<typeof promptsOf>[number] {
  const prompts = promptsOf(head).flat();
  if (prompts.length === 0)
    throw new InvalidRequest("there is nothing to ask about", { next: advice("name other files") });
  if (prompts.length > maxPrompts) {
    throw new InvalidRequest(`${counted(prompts.length, "prompt")} in one batch; at most ${maxPrompts} are asked`, {
      next: advice("limit it, or name fewer files"),
    });
  }
  if (head.request.continueId === undefined) return prompts;
  throw new InvalidRequest("the answers of a batch are no conversation", {
    next: advice("leave out the conversation"),
  });
}

/** What may differ between calls about the same texts. */
function howOf({ sample, limit, reduce, when = "now" }: BatchHead): readonly unknown[] {
  return [sample, limit, reduce, when];
}

function titleOf({ items, questions = [] }: BatchRequest<GenerateRequest>): string {
  const asked = questions.length > 1 ? `${questions.length} questions about each of ` : "";
  return `ask ${asked}${counted(items.length, "text")}`;
}

function summaryOf(
  answers: readonly KeptAnswer[],
  shown: readonly BatchAnswer[],
  { asked, kept, seconds }: Readonly<Record<"asked" | "kept" | "seconds", number>>,
): Pick<BatchSummary, "models" | "counts" | "failures" | "examples"> {
  const failures = new Map<string, string[]>();
  for (const { state, why = "", item } of shown)
    if (state === "failed") failures.set(why, [...(failures.get(why) ?? []), item]);
  const sum = (of: "promptTokens" | "completionTokens") => answers.reduce((all, each) => all + (each[of] ?? 0), 0);
  const of = (state: BatchAnswer["state"]) => shown.filter((each) => each.state === state);
  const rest = { empty: of("empty").length, doubtful: of("doubtful").length, failed: of("failed").length };
  const good = of("done");
  const some = Object.entries({ ...rest, open: asked - shown.length, kept }).filter(([, count]) => count > 0);
  const tokens = { prompt_tokens: sum("promptTokens"), completion_tokens: sum("completionTokens") };
  const step = Math.max(1, Math.floor(good.length / examples));
  return {
    models: [...new Set(answers.flatMap(({ model }) => model ?? []))],
    counts: { asked, done: good.length, ...Object.fromEntries(some), seconds, ...tokens },
    failures: [...failures]
      .toSorted(([, a], [, b]) => b.length - a.length)
      .map(([why, [first = "", ...more]]) => `${why} (${first}${more.length === 0 ? "" : ` and ${more.length} more`})`),
    examples: good.filter((_, at) => at % step === 0).slice(0, examples),
  };
}
