import { createLog } from "../../../../src/orchestrator/api/log.ts";
import { describe, expect, it } from "vitest";
import { Cancelled } from "../../../../src/orchestrator/api/errors.ts";
import type { ChildSession } from "../../../../src/orchestrator/engines/llama-cpp/child-session.ts";
import { createCards } from "../../../../src/orchestrator/engines/llama-cpp/failures.ts";
import { ComputeGate } from "../../../../src/orchestrator/engines/llama-cpp/compute-gate.ts";
import { Models, type Loadable } from "../../../../src/orchestrator/engines/llama-cpp/models.ts";

const loadable = {
  stored: { name: "practice:tiny", digest: "d", sizeBytes: 1, adapterFiles: [] },
  header: { weightsBytes: 1 },
  request: ({ contextTokens }: { contextTokens: number }) => ({ type: "load", contextTokens }),
} as unknown as Loadable;
const options = { contextTokens: 2_048 };
const never = new AbortController().signal;

/** A fake child whose load ends when triggered by the test, even if it is cancelled. */
function start() {
  let stops = 0;
  let isAlive = true;
  const { promise: loaded, resolve: endLoad } = withResolvers();
  const { promise: called, resolve: call } = withResolvers();
  const session = {
    pid: process.pid,
    ended: new Promise(() => undefined),
    isAlive: () => isAlive,
    capacity: () => ({ sequences: 1, together: 1 }),
    async call() {
      call();
      await loaded;
      return {};
    },
    async stop() {
      // The process ends once, however often it is stopped.
      if (isAlive) stops += 1;
      isAlive = false;
    },
  } as unknown as ChildSession;
  const models = new Models({
    open: async () => session,
    gate: new ComputeGate(() => 0),
    cards: createCards({ backend: "cpu", now: () => 0, log: createLog("silent", () => undefined) }),
    now: () => 0,
    steady: () => 0,
    stopLimitMs: 1_000,
    log: { debug() {}, info() {}, warn() {} },
    keepAliveSeconds: -1,
    loadLimitMs: () => 60_000,
    estimate: async () => undefined,
  });
  return { models, called, endLoad, stops: () => stops };
}

function withResolvers() {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((done) => (resolve = done));
  return { promise, resolve };
}

describe("a load that is cancelled when it ends", () => {
  it.each(Array.from({ length: 16 }, (_each, turns) => turns))(
    "after %i turns leaves no model loaded, or is used",
    async (turns) => {
      const { models, called, endLoad, stops } = start();
      const controller = new AbortController();
      const using = models
        .use(loadable, options, () => undefined, controller.signal)
        .then(
          () => "used",
          (error: unknown) => (error instanceof Cancelled ? "cancelled" : error),
        );
      await called;
      endLoad();
      for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
      controller.abort();
      const outcome = await using;
      expect(["cancelled", "used"]).toContain(outcome);
      expect(outcome).toBe({ 0: "cancelled", 15: "used" }[turns] ?? outcome);
      expect(models.find(loadable.stored) === undefined).toBe(outcome === "cancelled");
      expect(stops()).toBe(outcome === "cancelled" ? 1 : 0);
    },
  );

  it("stays loaded for another caller that waits for it", async () => {
    const { models, called, endLoad, stops } = start();
    const controller = new AbortController();
    const cancelled = models.use(loadable, options, () => undefined, controller.signal);
    const other = models.use(loadable, options, () => undefined, never);
    await called;
    endLoad();
    controller.abort();
    await expect(cancelled).rejects.toBeInstanceOf(Cancelled);
    expect((await other).resident.contextTokens).toBe(2_048);
    expect(stops()).toBe(0);
  });
});
