import { createLog } from "../../../../src/orchestrator/api/log.ts";
import { describe, expect, it } from "vitest";
import { OutOfMemory, UnloadUnconfirmed } from "../../../../src/orchestrator/api/errors.ts";
import {
  type ChildEnd,
  ChildGone,
  type ChildSession,
} from "../../../../src/orchestrator/engines/llama-cpp/child-session.ts";
import { ChildFailure } from "../../../../src/orchestrator/engines/llama-cpp/child/failure.ts";
import { createCards } from "../../../../src/orchestrator/engines/llama-cpp/failures.ts";
import { ComputeGate } from "../../../../src/orchestrator/engines/llama-cpp/compute-gate.ts";
import { Models, type Loadable } from "../../../../src/orchestrator/engines/llama-cpp/models.ts";

const never = new AbortController().signal;
const loadable = {
  stored: { name: "tiny:1b", digest: "1", sizeBytes: 1_000, weightsFile: "/tiny.gguf", adapterFiles: [] },
  header: { weightsBytes: 1_000 },
  request: () => ({ type: "load", contextTokens: 2_048 }),
} as unknown as Loadable;

/** A fake process that loads with `call` and whose end is triggered by the test. */
function session(call: () => Promise<unknown> = () => Promise.resolve({ contextTokens: 2_048 })) {
  let end: (value: ChildEnd) => void = () => undefined;
  const ended = new Promise<ChildEnd>((resolve) => (end = resolve));
  const stop = () => ended.then(() => undefined);
  return {
    end,
    session: {
      pid: 0,
      ended,
      isAlive: () => true,
      call,
      stop,
      capacity: () => ({ sequences: 1, together: 1 }),
    } as unknown as ChildSession,
  };
}

function models(opened: ChildSession, clock: { wallMs: number; steadyMs: number } = { wallMs: 0, steadyMs: 0 }) {
  const warnings: string[] = [];
  const created = new Models({
    open: () => Promise.resolve(opened),
    gate: new ComputeGate(() => clock.steadyMs),
    cards: createCards({ backend: "cpu", now: () => clock.steadyMs, log: createLog("silent", () => undefined) }),
    now: () => clock.wallMs,
    steady: () => clock.steadyMs,
    log: { debug: () => undefined, info: () => undefined, warn: (line) => warnings.push(line) },
    keepAliveSeconds: 900,
    loadLimitMs: () => 60_000,
    stopLimitMs: 5,
    estimate: () => Promise.resolve(undefined),
  });
  const load = () => created.use(loadable, { contextTokens: 2_048 }, () => undefined, never);
  return {
    load,
    list: () => created.list(),
    unload: (stored: Loadable["stored"]) => created.unload(stored),
  };
}

describe("an engine process that does not end", () => {
  it("is reported, and its model is listed until it ends", async () => {
    const child = session();
    const { load, list, unload } = models(child.session);
    (await load()).release();
    await expect(unload(loadable.stored)).rejects.toBeInstanceOf(UnloadUnconfirmed);
    expect((await list()).map(({ name }) => name)).toEqual(["tiny:1b"]);
    child.end({ cause: "SIGKILL", log: [], wasStopped: true });
    await child.session.ended;
    await new Promise((resolve) => setImmediate(resolve));
    expect(await list()).toEqual([]);
  });
});

describe("an engine process that the system kills during a load", () => {
  it.each([
    ["SIGKILL", [], OutOfMemory],
    ["SIGABRT", ["ggml_aligned_malloc: failed to allocate buffer of size 77"], OutOfMemory],
    ["SIGSEGV", ["something went wrong"], undefined],
  ])("%s with %j", async (cause, log, expected) => {
    const child = session(() => Promise.reject(new ChildGone({ cause, log, wasStopped: false })));
    const { load, list } = models(child.session);
    const loading = load().catch((error: unknown) => error);
    child.end({ cause, log, wasStopped: false });
    const error = await loading;
    expect(error instanceof OutOfMemory ? OutOfMemory : undefined).toBe(expected);
    expect(String(error)).toContain(`the engine process ended (${cause})`);
    expect(await list()).toEqual([]);
  });
});

describe("a load that fails in the engine", () => {
  it.each([
    // Messages of node-llama-cpp and llama.cpp with an address space of 60 GB and a context that is too large.
    ["A context size of 200000000 with 2 sequences is too large for the available RAM", true],
    ["failed to initialize the context: std::bad_alloc", true],
    ["Failed to create context", true],
    ["unable to allocate CPU buffer", true],
    ["unknown model architecture: 'gptoss'", false],
    ["tensor 'blk.2.attn_q.weight' not found", false],
  ])("with %j is out of memory: %s", async (message, isOutOfMemory) => {
    const child = session(() => Promise.reject(new ChildFailure("load_failed", message)));
    const { load } = models(child.session);
    const loading = load().catch((error: unknown) => error);
    child.end({ cause: "exit code 0", log: [], wasStopped: true });
    expect((await loading) instanceof OutOfMemory).toBe(isOutOfMemory);
  });
});

describe("the expiry of a model", () => {
  it("is computed from the current time, even if the system clock was changed", async () => {
    const clock = { wallMs: 1_000_000, steadyMs: 0 };
    const { load, list } = models(session().session, clock);
    const use = await load();
    use.release();
    expect((await list())[0]?.expiresAt).toBe(new Date(1_900_000).toISOString());
    clock.steadyMs = 100_000;
    clock.wallMs = 5_000_000_000;
    expect((await list())[0]?.expiresAt).toBe(new Date(5_000_800_000).toISOString());
    clock.wallMs = 0;
    expect((await list())[0]?.expiresAt).toBe(new Date(800_000).toISOString());
    expect(use.loadMs).toBe(0);
  });
});
