import { Cancelled, faultOf } from "../api/errors.ts";
import type { EndedAttempt, EndedRequest, Outcome } from "../api/events.ts";
import type { CheckResult } from "../api/facade-answers.ts";
import type { GenerateRequest } from "../api/facade.ts";
import type { CallerContext, Task } from "../api/types.ts";
import { estimateTokens } from "../routing/tokens.ts";
import type { Ask, GenerationWorld } from "./attempt.ts";
import type { Answered } from "./ports.ts";
import type { LocatedCandidate } from "./candidates.ts";
import type { Resolved } from "./resolve.ts";
import { defined } from "../util/values.ts";

type Charge = NonNullable<EndedAttempt["charge"]>;

/** Collects what is asked of engines for one request, and says it once when the request ends. */
export function requestTally(
  { emit, steady, isCompared, isBackground }: Pick<GenerationWorld, "emit" | "steady" | "isCompared" | "isBackground">,
  { client, clientVersion, trace }: CallerContext,
  { files = [], task, chat }: GenerateRequest,
) {
  const startedAtMs = steady();
  let attempts: EndedAttempt[] = [];
  let outcomes: NonNullable<EndedRequest["outcomes"]> | undefined;
  const known: {
    /** Its task and profile, once they are known. */
    decided: Resolved["decided"] | undefined;
    /** Models that failed before one answered. */
    fallbacks: number;
    /** The answer that is given, unless one of a later part is. */
    given: { readonly entry: LocatedCandidate; readonly reason: string; readonly check?: CheckResult } | undefined;
  } = { decided: undefined, fallbacks: 0, given: undefined };
  // Programs hand in whole conversations, and so do workers.
  const [plain, whole] = isBackground ? (["batch", "worker"] as const) : ([undefined, "door"] as const);
  const via: EndedRequest["via"] = isCompared ? "comparison" : chat === undefined ? plain : whole;

  function end(error?: unknown): void {
    const { decided, fallbacks, given } = known;
    emit({
      kind: "request ended",
      client,
      trace: trace?.id,
      task: isCompared ? "compare" : (decided?.task ?? task ?? "general"),
      // Without a decision a caller may have named anything.
      profile: decided?.profile.name ?? "",
      totalMs: steady() - startedAtMs,
      fallbacks,
      attempts,
      fileTokens: error === undefined ? files.reduce((tokens, { text }) => tokens + estimateTokens(text), 0) : 0,
      ...defined({ clientVersion, outcomes, via, error: error === undefined ? undefined : faultOf(error) }),
      ...(given !== undefined &&
        error === undefined && {
          given: {
            model: given.entry.located.model.name,
            engine: given.entry.located.engine.id,
            reason: given.reason,
            isDoubtful: given.check?.problem !== undefined,
          },
        }),
    });
  }

  return Object.assign(known, {
    /** Runs the request, and says how it ended. `signal` aborts it. */
    async count<Result>(work: () => Promise<Result>, signal: AbortSignal): Promise<Result> {
      try {
        const result = await work();
        end();
        return result;
      } catch (error) {
        // Whatever an abort made fail, it is a cancelled request.
        end(signal.aborted ? new Cancelled("the request was cancelled", { cause: error }) : error);
        throw error;
      }
    },
    /** Runs one request to an engine. `work` hands over what it read, wrote and cost if it breaks off. */
    async attempt(
      { located: { engine, model }, candidate }: LocatedCandidate,
      work: (spent: NonNullable<Ask["spent"]>) => Promise<Answered>,
    ): Promise<Answered> {
      const begunAtMs = steady();
      const where = { model: model.name, engine: engine.id, isLocal: candidate.trust === "local" };
      let charge: Charge | undefined;
      let broken: Partial<EndedAttempt> = {};
      const ended = (how: Partial<EndedAttempt>): void =>
        void attempts.push({ totalMs: steady() - begunAtMs, ...where, ...how, ...defined({ charge }) });
      try {
        const answered = await work((spent, cost) => {
          const { promptTokens = 0, completionTokens = 0 } = spent;
          broken = {
            promptTokens: promptTokens + (broken.promptTokens ?? 0),
            completionTokens: completionTokens + (broken.completionTokens ?? 0),
          };
          if (cost === undefined) return;
          const [{ amount, currency }, tokens] = [cost, promptTokens + completionTokens];
          charge = { amount: amount + (charge?.amount ?? 0), currency, tokens: tokens + (charge?.tokens ?? 0) };
        });
        const { generation, queueMs, loadMs, cost } = answered;
        const { promptTokens = 0, cachedPromptTokens = 0, completionTokens, decodeMs, firstTokenMs } = generation;
        const { restoredPromptTokens } = generation;
        if (cost !== undefined) charge = { ...cost, tokens: promptTokens + completionTokens };
        const figures = { promptTokens, cachedPromptTokens, completionTokens, decodeMs, firstTokenMs, queueMs, loadMs };
        ended({ ...figures, ...(restoredPromptTokens && { restoredPromptTokens }) });
        return answered;
      } catch (error) {
        ended({ ...broken, error: faultOf(error) });
        throw error;
      }
    },
    /** Runs a request of a check to another model: it is counted before the answer that it is about. */
    async beside<Result>(work: () => Promise<Result>): Promise<Result> {
      const before = { ...known, attempts, outcomes };
      attempts = [];
      try {
        return await work();
      } finally {
        attempts.push(...before.attempts);
        ({ outcomes } = before);
        Object.assign(known, { decided: before.decided, fallbacks: before.fallbacks, given: before.given });
      }
    },
    /** The last answer did not pass its check. */
    fail(error: unknown): void {
      const last = attempts.pop();
      if (last !== undefined) attempts.push({ ...last, error: faultOf(error) });
    },
    /** What can be learned about a model. */
    learn(of: Task, model: string, outcome: Outcome): void {
      outcomes = [...(outcomes ?? []), { task: of, model, outcome }];
    },
  });
}

/** The outcome of an answer that was given; undefined if it shows nothing. */
export function outcomeOf(
  { finishReason, toolCalls }: Pick<Answered["generation"], "finishReason" | "toolCalls">,
  { maxTokens, format, chat }: Pick<GenerateRequest, "maxTokens" | "format" | "chat">,
  isChecked: boolean,
): Outcome | undefined {
  // The request itself says how long it may be.
  if (finishReason === "length" && maxTokens !== undefined) return undefined;
  if (finishReason !== "stop") return finishReason;
  // The calls of a program's conversation are checked, its format is not.
  const isValid = chat === undefined ? format !== undefined : toolCalls !== undefined;
  return isChecked ? "checked" : isValid ? "valid" : undefined;
}
