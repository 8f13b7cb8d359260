/** The decision log: what was done to the memory, or refused, and why. */
import type { LoadPlan } from "./types.ts";

/**
 * | kind   | what was decided                                                              |
 * |--------|-------------------------------------------------------------------------------|
 * | load   | a model is loaded; its plan names what had to go for it                        |
 * | wait   | a load waits until models that are answering are done, or another load is      |
 * | refuse | a load would not fit, whatever idle model went                                 |
 * | replan | a plan did not hold: memory was taken meanwhile, or a model did not leave      |
 * | fail   | the engine could not load what should have fitted, or died of it               |
 * | unload | a model was taken out of memory because somebody asked, not to make room       |
 * | expire | a model left memory: its keep-alive was over, or its engine let go of it before  |
 * | touch  | an engine was about to unload a pinned model, or has let go of it              |
 * | preload | a model is loaded, or not, that nobody asked for: at the start, or a pinned one after its engine was restarted |
 */
export type DecisionKind = "load" | "wait" | "refuse" | "replan" | "fail" | "unload" | "expire" | "touch" | "preload";

export interface Decision {
  /** ISO 8601. */
  readonly at: string;
  readonly kind: DecisionKind;
  readonly model: string;
  readonly engine: string;
  /** The arithmetic, or the reason, one step each. */
  readonly steps: readonly string[];
  /** Numbers of a load that was planned. */
  readonly plan?: LoadPlan;
}
