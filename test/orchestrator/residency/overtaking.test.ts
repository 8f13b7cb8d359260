import fc from "fast-check";
import { expect, it } from "vitest";
import type { Progress } from "../../../src/orchestrator/api/types.ts";
import { handMachine } from "./hand-machine.ts";

const models = {
  slow: { loadMs: 3_000, answerMs: 4_000, isEmbedded: true },
  quick: { loadMs: 500, answerMs: 2_000, isEmbedded: true },
  large: { loadMs: 8_000, answerMs: 6_000, isEmbedded: true, size: 2 },
  tiny: { loadMs: 1_000, answerMs: 1_000, isEmbedded: true },
} as const;
type Name = keyof typeof models;

const arbitraryAgent = fc.record({
  atMs: fc.integer({ min: 0, max: 5_000 }),
  priority: fc.constantFrom(0, 0, 0, -1),
  asks: fc.array(
    fc.record({
      model: fc.constantFrom(...(Object.keys(models) as Name[])),
      /** Share of the longest answer of the model. */
      share: fc.double({ min: 0, max: 1, noNaN: true }),
      returnMs: fc.constantFrom(0, 10, 10, 90, 500, 4_000),
      contextTokens: fc.constantFrom(4_096, 4_096, 4_096, 8_192),
    }),
    { minLength: 1, maxLength: 14 },
  ),
});

interface Answer {
  /** Order of arrival. */
  readonly number: number;
  readonly arrivedMs: number;
  readonly servedMs: number;
  /** For the first answer after a load: when the load began. */
  readonly beganMs: number;
  readonly endMs: number;
}

it("with one slot no request is overtaken for more than the limit by returning agents, loads included", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(arbitraryAgent, { minLength: 2, maxLength: 6 }), async (agents) => {
      const machine = handMachine(models, { capacity: 2 });
      const { clock } = machine;
      const answers: Answer[] = [];
      /** Loads after which no request was served yet. */
      const loadedAtMs = new Map<Name, number>();
      let arrivals = 0;
      const ask = ({ asks, priority }: (typeof agents)[number], caller: string, position = 0): void => {
        const each = asks[position];
        if (each === undefined) return;
        const [number, arrivedMs] = [(arrivals += 1), clock.now()];
        const report = ({ message }: Progress) => {
          if (message === `loading ${each.model}` && !loadedAtMs.has(each.model))
            loadedAtMs.set(each.model, clock.now());
        };
        const { contextTokens } = each;
        void machine.ask(each.model, { caller, priority, contextTokens, report }).then((slot) => {
          const servedMs = clock.now();
          const beganMs = loadedAtMs.get(each.model) ?? servedMs;
          loadedAtMs.delete(each.model);
          const endMs = servedMs + Math.round(each.share * models[each.model].answerMs);
          answers.push({ number, arrivedMs, servedMs, beganMs, endMs });
          clock.after(endMs - servedMs, () => {
            slot.release();
            clock.after(each.returnMs, () => ask({ asks, priority, atMs: 0 }, caller, position + 1));
          });
        });
      };
      for (const [index, agent] of agents.entries()) clock.after(agent.atMs, () => ask(agent, `agent ${index}`));

      const total = agents.reduce((sum, { asks }) => sum + asks.length, 0);
      for (let step = 0; answers.length < total; step += 1) {
        if (step > 3_000) throw new Error(`${total - answers.length} of ${total} are not served`);
        await machine.pass(1_000);
      }
      for (const { number, arrivedMs, servedMs } of answers) {
        const ahead = answers.filter(
          (other) => other.number > number && other.servedMs >= arrivedMs && other.servedMs < servedMs,
        );
        if (ahead.length === 0) continue;
        const began = Math.min(...ahead.map(({ beganMs }) => beganMs));
        const ended = Math.max(...ahead.map(({ endMs }) => endMs));
        expect(ended - began).toBeLessThanOrEqual(30_000);
      }
    }),
    { numRuns: 40 },
  );
});
