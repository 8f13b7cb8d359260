import { Cancelled } from "../api/errors.ts";
import type { GenerateRequest } from "../api/facade.ts";
import type { CallerContext } from "../api/types.ts";
import type { EndedAttempt } from "../watch/metrics/counts.ts";
import type { GenerationWorld } from "./attempt.ts";
import type { Answered } from "./ports.ts";
import type { LocatedCandidate } from "./candidates.ts";
import type { Resolved } from "./resolve.ts";
import { defined } from "../util/defined.ts";

type Charge = NonNullable<EndedAttempt["charge"]>;

/** Collects what is asked of engines for one request, and hands it to the metrics when the request ends. */
export class RequestTally {
  readonly #world: Pick<GenerationWorld, "metrics" | "steady" | "isBackground">;
  readonly #caller: CallerContext;
  readonly #request: GenerateRequest;
  readonly #startedAtMs: number;
  readonly #attempts: EndedAttempt[] = [];
  #decided: Resolved["decided"] | undefined;
  #fallbacks = 0;

  constructor(
    world: Pick<GenerationWorld, "metrics" | "steady" | "isBackground">,
    caller: CallerContext,
    request: GenerateRequest,
  ) {
    this.#world = world;
    this.#caller = caller;
    this.#request = request;
    this.#startedAtMs = world.steady();
  }

  /** Runs the request, and counts how it ended. `signal` aborts it. */
  async count<Result>(work: () => Promise<Result>, signal: AbortSignal): Promise<Result> {
    try {
      const result = await work();
      this.#end();
      return result;
    } catch (error) {
      // Whatever an abort made fail, it is a cancelled request.
      this.#end(signal.aborted ? new Cancelled("the request was cancelled", { cause: error }) : error);
      throw error;
    }
  }

  /** Its task and profile, once they are known. */
  about(decided: Resolved["decided"] | undefined): void {
    this.#decided = decided;
  }

  /** Runs one request to an engine. `work` hands over what it cost if it fails. */
  async attempt(
    { located: { engine, model }, candidate }: LocatedCandidate,
    work: (charge: (charge: Charge) => void) => Promise<Answered>,
  ): Promise<Answered> {
    const startedAtMs = this.#world.steady();
    const where = () => ({
      model: model.name,
      engine: engine.id,
      isLocal: candidate.trust === "local",
      totalMs: this.#world.steady() - startedAtMs,
    });
    let charge: Charge | undefined;
    try {
      const answered = await work(({ amount, currency, tokens }) => {
        charge = { amount: amount + (charge?.amount ?? 0), currency, tokens: tokens + (charge?.tokens ?? 0) };
      });
      const { generation, queueMs, loadMs, cost } = answered;
      const { promptTokens = 0, cachedPromptTokens = 0, completionTokens, decodeMs, firstTokenMs } = generation;
      if (cost !== undefined) charge = { ...cost, tokens: promptTokens + completionTokens };
      const counts = { promptTokens, cachedPromptTokens, completionTokens, decodeMs, firstTokenMs, queueMs, loadMs };
      this.#attempts.push({ ...where(), ...counts, ...(charge && { charge }) });
      return answered;
    } catch (error) {
      this.#attempts.push({ ...where(), error, ...(charge && { charge }) });
      throw error;
    }
  }

  /** The last answer did not pass its check. */
  fail(error: unknown): void {
    const last = this.#attempts.pop();
    if (last !== undefined) this.#attempts.push({ ...last, error });
  }

  /** Models that failed before one answered. */
  fellBack(times: number): void {
    this.#fallbacks += times;
  }

  #end(error?: unknown): void {
    const { client } = this.#caller;
    const { files = [], task } = this.#request;
    this.#world.metrics.note({
      client,
      // Its answers are made to be compared: nothing is saved by them.
      task: this.#world.isBackground === true ? "compare" : (this.#decided?.task ?? task ?? "general"),
      // Without a decision a caller may have named anything.
      profile: this.#decided?.profile.name ?? "",
      totalMs: this.#world.steady() - this.#startedAtMs,
      fallbacks: this.#fallbacks,
      attempts: this.#attempts,
      files: files.map(({ text }) => text),
      ...defined({ error }),
    });
  }
}
