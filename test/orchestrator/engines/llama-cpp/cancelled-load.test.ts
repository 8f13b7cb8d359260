import { describe, expect, it } from "vitest";
import { Cancelled } from "../../../../src/orchestrator/api/errors.ts";
import type { ChildSession } from "../../../../src/orchestrator/engines/llama-cpp/child-session.ts";
import { createComputeGate } from "../../../../src/orchestrator/engines/llama-cpp/compute-gate.ts";
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
    async call() {
      call();
      await loaded;
      return {};
    },
    async stop() {
      stops += 1;
      isAlive = false;
    },
  } as unknown as ChildSession;
  const models = new Models({
    open: async () => session,
    gate: createComputeGate(() => 0),
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
  it("leaves no model loaded", async () => {
    const { models, called, endLoad, stops } = start();
    const controller = new AbortController();
    const using = models.use(loadable, options, () => undefined, controller.signal);
    await called;
    endLoad();
    controller.abort();
    await expect(using).rejects.toBeInstanceOf(Cancelled);
    expect(models.find(loadable.stored)).toBeUndefined();
    expect(stops()).toBe(1);
  });

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
