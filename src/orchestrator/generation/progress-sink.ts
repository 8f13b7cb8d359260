import type { GenerationSink } from "../engines/generation.ts";
import type { OperationContext } from "../jobs/operations.ts";
import type { RequestMonitor } from "../residency/health.ts";
import { estimateTokens } from "../routing/tokens.ts";
import { counted } from "../util/format-bytes.ts";

/** Reports the progress of an answer, and keeps what was received of it. */
export class ProgressSink implements GenerationSink {
  readonly #model: string;
  readonly #context: OperationContext;
  readonly #sign: RequestMonitor;
  #pieces = 0;
  #text = "";
  #lastPhase: string | undefined;

  constructor(model: string, context: OperationContext, sign: RequestMonitor) {
    this.#model = model;
    this.#context = context;
    this.#sign = sign;
  }

  get hasText(): boolean {
    return this.#pieces > 0;
  }

  /** Estimated: a piece may be one token or many. */
  get tokens(): number {
    return Math.max(this.#pieces, estimateTokens(this.#text));
  }

  text(delta: string): void {
    this.#context.addText(delta);
    this.#count(delta);
  }

  thinking(delta: string): void {
    this.#context.addThinking(delta);
    this.#count(delta);
  }

  phase(phase: "loading" | "prefill" | "decode" | "paused"): void {
    // The same phase again: a part of the prompt was read, or it is still paused.
    if (phase === this.#lastPhase) return this.#sign.progress();
    this.#lastPhase = phase;
    const words = {
      loading: `loading ${this.#model}`,
      prefill: `${this.#model} is reading the prompt`,
      decode: `${this.#model} is answering`,
      paused: `${this.#model} is paused for another request`,
    };
    this.#context.report({ message: words[phase], model: this.#model });
  }

  #count(delta: string): void {
    this.#pieces += 1;
    this.#text += delta;
    this.#sign.token();
    const message = `${this.#model}: ${counted(this.#pieces, "token")}`;
    this.#context.report({ message, completionTokens: this.#pieces, model: this.#model });
  }
}

/** For work whose output is not shown. */
export const unseen: Omit<OperationContext, "signal" | "background"> = {
  report: () => undefined,
  addText: () => undefined,
  addThinking: () => undefined,
  clearText: () => undefined,
  setAnswer: () => undefined,
};
