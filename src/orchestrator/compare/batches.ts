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

/** Batches, each in a document of its own, which is removed with its job. */
export class KeptBatches implements Batches<GenerateRequest> {
  readonly #deps: BatchesDeps;
  readonly #opened = new Map<string, ReturnType<typeof openBatch>>();

  constructor(deps: BatchesDeps) {
    this.#deps = deps;
  }

  async items(...given: Parameters<Batches<GenerateRequest>["items"]>) {
    return (await this.#deps.world.reader()).items(...given);
  }

  async start(caller: CallerContext, asked: BatchRequest<GenerateRequest>): Promise<Operation<BatchSummary>> {
    const { world, serving } = this.#deps;
    const { request, items, questions, ...how } = asked;
    checkRequest(asked);
    if (request.model !== undefined) await world.inventory.locate(request.model);
    await waitsFor(how.when, new Date(world.now()), idleMachine);
    const digest = createHash("sha256")
      .update(JSON.stringify([request, items, questions]))
      .digest("hex");
    const id = `batch-${digest.slice(0, 12)}`;
    const { state } = await this.#open(id);
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
    const known = lastAnswers(state);
    const kept = promptsOf(head)
      .flat()
      .filter((each) => isAnswered(known, each)).length;
    return serving(caller, () => this.#run(id, caller, { ...head, kept }));
  }

  /** Continues a batch of an earlier daemon, for the caller who began it. Throws `UnknownJob`. */
  async resume(id: string): Promise<Operation<BatchSummary>> {
    const { head } = (await this.#open(id)).state;
    if (head === undefined) throw textsLost(id);
    const { caller } = head;
    const isLocal = this.#deps.privacy() === "local_only";
    const who = isLocal ? { ...caller, settings: { ...caller.settings, privacy: "local_only" as const } } : caller;
    return this.#deps.serving(who, () => this.#run(id, who));
  }

  async results(_caller: CallerContext, id: string): Promise<readonly BatchAnswer[]> {
    const found = /^batch-[0-9a-f]{12}$/.test(id) ? (await this.#open(id)).state : undefined;
    if (found?.head !== undefined) return shownAnswers(found);
    this.#opened.delete(id);
    throw new UnknownJob(`no batch ${id}`, { next: { step: "listJobs" } });
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#opened.values()].map(async (each) => (await each).close()));
  }

  #open(id: string): ReturnType<typeof openBatch> {
    const { world, files } = this.#deps;
    const document = this.#opened.get(id) ?? openBatch(id, world.log, files);
    this.#opened.set(id, document);
    document.catch(() => this.#opened.delete(id));
    return document;
  }

  /** Asks what is open of a batch, then about all answers. */
  #run(id: string, who: BatchHead["caller"], started?: BatchHead): Operation<BatchSummary> {
    const { world, operations } = this.#deps;
    const spec = { kind: "batch", title: started?.title ?? id, id, key: id, client: who.client } as const;
    return operations.start(spec, async (context) => {
      const caller = { ...who, signal: context.signal };
      const document = await this.#open(id);
      if (started !== undefined) await document.append({ type: "started", head: started });
      const { head } = document.state;
      if (head === undefined) throw textsLost(id);
      const startedAtMs = world.steady();
      const prompts = promptsOf(head);
      const all = new Set(prompts.flat().map(({ prompt }) => prompt));
      const known = lastAnswers(document.state);
      const open = prompts
        .map((each) => each.filter((asked) => !isAnswered(known, asked)))
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
      const reduced = stopped === undefined ? await this.#reduced(head, shown, caller, context) : undefined;
      if (stopped === undefined) await document.append({ type: "ended", at: new Date(world.now()).toISOString() });
      const notes = stopped === undefined ? [] : [`stopped: ${stopped}; the same call continues`];
      const seconds = Math.round((world.steady() - startedAtMs) / 1000);
      return { id, ...summaryOf(answers, shown, all.size, head.kept), seconds, notes, ...defined({ reduced }) };
    });
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
  ): Promise<string | undefined> {
    if (prompt === undefined) return undefined;
    const texts = answers
      .filter(({ state }) => state === "done" || state === "doubtful")
      .map(({ item, question, text = "" }) => `## ${[item, question].filter(Boolean).join(": ")}\n${text.trim()}`);
    if (texts.length === 0) return "no text has an answer";
    const { model, system, privacy, maxTokens } = request;
    const asked = { prompt, ...defined({ model, system, privacy, maxTokens }), useMemory: false };
    const files = [{ path: "answers.md", text: texts.join("\n\n") }];
    const world = { ...this.#deps.world, isBackground: true };
    return (await runGeneration(world, caller, { ...asked, files }, context)).text;
  }
}

const idleMachine = { isBusy: () => false, onBattery: () => Promise.resolve(false) };

function isAnswered(known: ReadonlyMap<number, KeptAnswer>, { prompt }: { readonly prompt: number }): boolean {
  return (known.get(prompt)?.state ?? "failed") !== "failed";
}

function textsLost(id: string): UnknownJob {
  return new UnknownJob(`the texts of ${id} are lost`, { next: { step: "retry" } });
}

function checkRequest({ items, questions, request }: BatchRequest<GenerateRequest>): void {
  if (items.length === 0)
    throw new InvalidRequest("there is nothing to ask about", { next: advice("name other files") });
  const prompts = items.length * Math.max(1, questions?.length ?? 1);
  if (prompts > maxPrompts) {
    throw new InvalidRequest(`${counted(prompts, "prompt")} in one batch; at most ${maxPrompts} are asked`, {
      next: advice("name fewer files, or ask of parts of them"),
    });
  }
  if (request.continueId === undefined) return;
  throw new InvalidRequest("the answers of a batch are no conversation", {
    next: advice("leave out the conversation"),
  });
}

function titleOf({ items, questions = [] }: BatchRequest<GenerateRequest>): string {
  const asked = questions.length > 1 ? `${questions.length} questions about each of ` : "";
  return `ask ${asked}${counted(items.length, "text")}`;
}

function summaryOf(
  answers: readonly KeptAnswer[],
  shown: readonly BatchAnswer[],
  asked: number,
  kept: number,
): Omit<BatchSummary, "id" | "seconds" | "notes"> {
  const counts = { done: 0, empty: 0, doubtful: 0, failed: 0 };
  const failures = new Map<string, string[]>();
  for (const { state, why = "", item } of shown) {
    counts[state] += 1;
    if (state === "failed") failures.set(why, [...(failures.get(why) ?? []), item]);
  }
  const sum = (of: "promptTokens" | "completionTokens") => answers.reduce((all, each) => all + (each[of] ?? 0), 0);
  const good = shown.filter(({ state }) => state === "done");
  const step = Math.max(1, Math.floor(good.length / examples));
  return {
    models: [...new Set(answers.flatMap(({ model }) => model ?? []))],
    asked,
    counts,
    kept,
    promptTokens: sum("promptTokens"),
    completionTokens: sum("completionTokens"),
    failures: [...failures]
      .toSorted(([, a], [, b]) => b.length - a.length)
      .map(([why, [first = "", ...more]]) => `${why} (${first}${more.length === 0 ? "" : ` and ${more.length} more`})`),
    examples: good.filter((_, at) => at % step === 0).slice(0, examples),
  };
}
