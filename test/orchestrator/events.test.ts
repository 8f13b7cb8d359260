import fc from "fast-check";
import { expect, it } from "vitest";
import { OrchestratorError } from "../../src/orchestrator/api/errors.ts";
import { type Event, createEvents } from "../../src/orchestrator/api/events.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

/** All that is in an event, as far as a watcher could read it. */
function textOf(value: unknown, seen = new Set<unknown>()): string {
  if (typeof value !== "object" || value === null) return String(value);
  if (seen.has(value)) return "";
  seen.add(value);
  const keys = [...Object.keys(value), ...(value instanceof Error ? ["message", "stack", "cause"] : [])];
  return keys.map((key) => textOf((value as Readonly<Record<string, unknown>>)[key], seen)).join("\n");
}

const marker = "s3cr3t-m4rk3r";
const place = fc.constantFrom("prompt", "system", "file", "answer");
const ending = fc.constantFrom("answered", "failed", "cancelled", "unknown model");

it("no event of any request has a text of it", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(place, { minLength: 1 }), ending, async (places, ends) => {
      const has = (where: string): boolean => places.includes(where as never);
      const engine = createFakeEngine("ollama", [fakeModel("a:1b", gigabyte)]);
      const caller = new AbortController();
      engine.answer = async () => {
        if (ends === "failed") throw new OrchestratorError("the engine failed");
        if (ends === "cancelled") caller.abort("cancelled");
        return { text: has("answer") ? marker : "fine", completionTokens: 3, decodeMs: 10 };
      };
      const bus = createEvents({ warn: () => undefined });
      const events: Event[] = [];
      const emit = (event: Event): void => {
        events.push(event);
        bus.emit(event);
      };
      const given = { events: { ...bus, emit } };
      const { orchestrator, generate, caller: asking } = createTestOrchestrator([engine], given);
      await generate(
        {
          prompt: has("prompt") ? `say ${marker}` : "hello",
          model: ends === "unknown model" ? "b:1b" : "a:1b",
          ...(has("system") && { system: marker }),
          ...(has("file") && { files: [{ path: "a.txt", text: marker }] }),
        },
        asking({ signal: caller.signal }),
      ).catch(() => undefined);
      await orchestrator.close();
      expect(events.map(({ kind }) => kind)).toContain("request ended");
      expect(events.filter((event) => textOf(event).includes(marker))).toEqual([]);
    }),
    { numRuns: 30 },
  );
});
