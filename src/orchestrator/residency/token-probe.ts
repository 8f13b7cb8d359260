import { OrchestratorError } from "../api/errors.ts";
import type { Engine } from "../engines/engine.ts";
import { defaultContextTokens } from "../memory/reading.ts";
import type { Inventory } from "../models/inventory.ts";
import { sameModel } from "../util/model-name.ts";
import type { Timers } from "../util/timers.ts";
import type { Slots } from "./slots.ts";

/**
 * | outcome   | meaning                                                                                |
 * |-----------|----------------------------------------------------------------------------------------|
 * | `token`   | the model produced a token, or another program was answered meanwhile                  |
 * | `timeout` | an idle model produced no token within a minute                                        |
 * | `unknown` | no model of ours is loaded and idle, or the engine is unreachable (reported elsewhere) |
 */
export interface ProbeResult {
  readonly outcome: "token" | "timeout" | "unknown";
  /** One sentence for the user. */
  readonly text: string;
}

export type TokenProbe = (engine: Engine) => Promise<ProbeResult>;

const boundMs = 60_000;
const unknown: ProbeResult = { outcome: "unknown", text: "" };

/** Requests one token from an idle model of ours. Loads nothing, and doesn't count as a use. */
export function createTokenProbe(parts: {
  readonly inventory: Inventory;
  readonly slots: Slots;
  readonly timers: Timers;
  readonly signal: AbortSignal;
}): TokenProbe {
  const { inventory, slots, timers, signal } = parts;

  async function expiry(engine: Engine, name: string): Promise<string | undefined> {
    return (await inventory.resident(engine, 0)).find((model) => sameModel(model.name, name))?.expiresAt;
  }

  async function ask(engine: Engine, name: string, contextTokens: number): Promise<ProbeResult> {
    const bound = new AbortController();
    const cancel = timers.after(boundMs, () => bound.abort());
    const held = slots.of(engine, name).take(name, false);
    const before = await expiry(engine, name);
    let hasToken = false;
    const seen = () => {
      hasToken = true;
    };
    try {
      await engine.generate(
        {
          model: name,
          messages: [{ role: "user", content: "Hi" }],
          maxTokens: 1,
          contextTokens,
          sampling: { temperature: 0 },
        },
        { text: seen, thinking: seen, phase: () => undefined },
        AbortSignal.any([signal, bound.signal]),
      );
      return { outcome: "token", text: "" };
    } catch (error) {
      if (hasToken) return { outcome: "token", text: "" };
      if (!(error instanceof OrchestratorError)) throw error;
      // An error is a response, too; an unreachable engine is reported elsewhere.
      if (!bound.signal.aborted || signal.aborted) return unknown;
      // The expiry moved: another program was answered first.
      const after = await expiry(engine, name);
      if (after !== undefined && after !== before) return { outcome: "token", text: "" };
      const text = `${engine.id} responds, but ${name} produced no token within ${boundMs / 1_000} s: it is stuck and may need a restart`;
      return after === undefined ? unknown : { outcome: "timeout", text };
    } finally {
      cancel();
      slots.of(engine, name).acted();
      inventory.forgetResidency(engine);
      held.release();
    }
  }

  return async (engine) => {
    // Its models answer one after another: a probe would only wait behind the stalled one.
    if (engine.parallelAnswers === undefined) return unknown;
    for (const { name, contextTokens } of await inventory.resident(engine, 0)) {
      const { isBusy, isEvicting, ownedLoad } = slots.of(engine, name);
      if (!isBusy && !isEvicting && ownedLoad !== undefined)
        return ask(engine, name, contextTokens ?? defaultContextTokens);
    }
    return unknown;
  };
}
