/** The log of load and unload decisions. */
import type { LoadPlan } from "./types.ts";

/**
 * | kind   | decision                                                                      |
 * |--------|-------------------------------------------------------------------------------|
 * | load   | a model is loaded; its plan has the evicted models                             |
 * | wait   | a load waits until answers or another load are done                            |
 * | refuse | a load does not fit, even with all idle models unloaded                        |
 * | replan | a plan failed: memory was taken meanwhile, or an unload was not confirmed      |
 * | fail   | the engine failed or crashed during a load that should have fitted             |
 * | unload | a model was unloaded on request, not to make room                              |
 * | expire | a model was unloaded at the end of its keep-alive, or earlier by its engine    |
 * | touch  | the keep-alive of a pinned model was renewed, or the model loaded again        |
 * | preload | a model is loaded, or not, at the start or after a restart of its engine      |
 */
export type DecisionKind = "load" | "wait" | "refuse" | "replan" | "fail" | "unload" | "expire" | "touch" | "preload";

export interface Decision {
  /** ISO 8601. */
  readonly at: string;
  readonly kind: DecisionKind;
  readonly model: string;
  readonly engine: string;
  /** The calculation or the reason, one step each. */
  readonly steps: readonly string[];
  /** The plan of a load. */
  readonly plan?: LoadPlan;
}
