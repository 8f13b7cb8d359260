import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, it, vi } from "vitest";
import { Cancelled, LoadFailed, UnknownJob } from "../../../src/orchestrator/api/errors.ts";
import type { Event } from "../../../src/orchestrator/api/events.ts";
import type { PullResult } from "../../../src/orchestrator/api/facade.ts";
import { KeptJobs } from "../../../src/orchestrator/jobs/jobs.ts";
import { createOperations } from "../../../src/orchestrator/jobs/operations.ts";
import type { CallerContext, OperationKind } from "../../../src/orchestrator/api/types.ts";
import { createGate } from "../../support/fake-engine.ts";
import { createMemoryJobFiles, type MemoryJobFiles } from "../../support/memory-job-files.ts";

const hour = 3_600_000;
const pulled: PullResult = { name: "a", engine: "ollama", sizeBytes: 5, wasAlreadyPresent: false };

function setUp(files: MemoryJobFiles = createMemoryJobFiles(), more: { maxBytes?: number } = {}) {
  const clock = { nowMs: Date.parse("2026-11-21T12:00:00Z") };
  const logged: string[] = [];
  const changes: Event[] = [];
  const now = () => clock.nowMs;
  const note = (line: string) => void logged.push(line);
  const jobs = new KeptJobs({
    now,
    log: { debug: note, info: note, warn: note },
    files,
    keepHours: 24,
    maxBytes: more.maxBytes ?? 1e6,
    emit: (event) => void changes.push(event),
  });
  const operations = createOperations(now, () => undefined);
  const call = new AbortController();
  const caller = { id: "1", client: "test", signal: call.signal } as CallerContext;
  /** A detached operation that the test ends; `text` is its partial text. */
  function detach(kind: OperationKind = "generate", text?: string) {
    let finish!: (result: unknown) => void;
    let fail!: (error: Error) => void;
    const operation = operations.start<unknown>({ kind, title: `${kind} a` }, (context) => {
      if (text !== undefined) context.addText(text);
      context.report({ message: "at work" });
      return new Promise((resolve, reject) => {
        finish = resolve;
        fail = reject;
        context.signal.addEventListener("abort", () => reject(new Cancelled("aborted")));
      });
    });
    const outcome = operation.follow(new AbortController().signal).then((result) => ({ text: result }));
    const errorText = (error: unknown) => `shown: ${(error as Error).message}`;
    const job = jobs.adopt(caller, { tool: "route_and_generate", operation, outcome, errorText });
    return { job, operation, finish: (result: unknown) => finish(result), fail: (error: Error) => fail(error) };
  }
  return { jobs, operations, clock, logged, changes, files, caller, call, detach };
}

const restored = {
  ofPull: (result: PullResult) => ({ name: result.name }),
  ofBatch: () => ({}),
  ofError: (error: unknown, tool: string) => `Error in ${tool}: ${(error as Error).message}`,
};
const noPulls = () => {
  throw new Error("unexpected pull");
};

describe("a job", () => {
  it("has its progress and its partial text", async () => {
    const { jobs, caller, detach } = setUp();
    const { job } = detach("generate", "Once upon");
    await Promise.resolve();
    expect(await jobs.get(caller, job.id)).toMatchObject({
      state: "running",
      kind: "generate",
      title: "generate a",
      client: "test",
      progress: { message: "at work" },
      partial: { text: "Once upon" },
    });
    expect(jobs.list()).toMatchObject([{ id: job.id, state: "running" }]);
  });

  it("ends with the tool's own answer, which is then on disk and not in memory", async () => {
    const { jobs, caller, detach, files } = setUp();
    const { job, finish } = detach();
    await Promise.resolve();
    finish("Paris");
    const ended = await jobs.wait(caller, job.id, { maxWaitMs: 5000 });
    expect(ended).toMatchObject({ state: "succeeded", result: { text: "Paris" }, endedAt: "2026-11-21T12:00:00.000Z" });
    await jobs.settled();
    expect(JSON.parse(files.texts.get(job.id) ?? "")).toMatchObject({ schemaVersion: 1, result: { text: "Paris" } });
    expect(await jobs.get(caller, job.id)).toMatchObject({ result: { text: "Paris" } });
    files.texts.clear();
    const { result, note } = await jobs.get(caller, job.id);
    expect([result, note]).toEqual([undefined, expect.stringMatching(/can't be read/)]);
  });

  it("that fails has the error text of its call, and its partial text on disk, not in memory", async () => {
    const { jobs, caller, detach, files } = setUp();
    const { job, fail } = detach("generate", "Once upon");
    await Promise.resolve();
    fail(new LoadFailed("no memory"));
    const failed = { state: "failed", error: "shown: no memory", partial: { text: "Once upon" } };
    expect(await jobs.wait(caller, job.id, { maxWaitMs: 5000 })).toMatchObject(failed);
    await jobs.settled();
    expect(await jobs.get(caller, job.id)).toMatchObject(failed);
    files.texts.clear();
    expect((await jobs.get(caller, job.id)).partial).toBeUndefined();
  });

  it("continues when the call that detached from it ends, and ends when it is cancelled", async () => {
    const { jobs, caller, call, detach, operations } = setUp();
    const { job } = detach();
    call.abort("disconnected");
    await Promise.resolve();
    expect(operations.running()).toHaveLength(1);
    const other = { ...caller, signal: new AbortController().signal };
    expect(await jobs.cancel(other, job.id)).toMatchObject({ state: "cancelled" });
    expect(operations.running()).toHaveLength(0);
    expect(await jobs.cancel(other, job.id)).toMatchObject({ state: "cancelled" });
  });

  it("is one job when two calls detach from one operation", async () => {
    const { jobs, caller, detach } = setUp();
    const { job, operation } = detach();
    const outcome = Promise.reject(new Error("the second call's own"));
    const second = jobs.adopt(caller, { tool: "smart_load", operation, outcome, errorText: String });
    expect(second).toMatchObject({ id: job.id, tool: "route_and_generate" });
    expect(jobs.list()).toHaveLength(1);
  });

  it("is waited for up to the given time, with its progress", async () => {
    const { jobs, caller, detach } = setUp();
    const { job } = detach();
    await Promise.resolve();
    const messages: string[] = [];
    const onProgress = ({ message }: { message: string }) => void messages.push(message);
    expect(await jobs.wait(caller, job.id, { maxWaitMs: 1, onProgress })).toMatchObject({ state: "running" });
    expect(messages).toEqual(["at work"]);
  });

  it("continues when a call that waits for it is cancelled", async () => {
    const { jobs, caller, detach, operations } = setUp();
    const { job } = detach();
    const call = new AbortController();
    const waiting = jobs.wait({ ...caller, signal: call.signal }, job.id, { maxWaitMs: 60_000 });
    call.abort("cancelled");
    await expect(waiting).rejects.toBeInstanceOf(Cancelled);
    expect(operations.running()).toHaveLength(1);
  });

  it("that is unknown is refused with the nearest id", async () => {
    const { jobs, caller, detach } = setUp();
    const { job } = detach();
    const wrong = `${job.id.slice(0, -1)}x`;
    const error: unknown = await jobs.get(caller, wrong).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(UnknownJob);
    expect(error).toMatchObject({ next: [{ step: "didYouMean", names: [job.id] }, { step: "listJobs" }] });
    await expect(jobs.get(caller, "zzz")).rejects.toMatchObject({ next: [{ step: "listJobs" }] });
  });

  it("publishes a change when it is added, progresses and ends", async () => {
    const { jobs, caller, detach, changes } = setUp();
    const { job, finish } = detach();
    await Promise.resolve();
    finish("done");
    await jobs.wait(caller, job.id, { maxWaitMs: 5000 });
    expect(changes[0]).toEqual({ kind: "job changed", id: job.id, isListChanged: true });
    expect(changes.slice(1)).toContainEqual({ kind: "job changed", id: job.id, isListChanged: false });
  });

  it("is removed a day after its end, with its file", async () => {
    const { jobs, caller, detach, clock, files } = setUp();
    const { job, finish } = detach();
    await Promise.resolve();
    finish("done");
    await jobs.wait(caller, job.id, { maxWaitMs: 5000 });
    clock.nowMs += 24 * hour - 1;
    expect(jobs.list()).toHaveLength(1);
    clock.nowMs += 1;
    expect(jobs.list()).toHaveLength(0);
    await jobs.settled();
    await expect.poll(() => files.texts.size).toBe(0);
  });

  it("continues in memory when the disk is full, with a warning", async () => {
    const { jobs, caller, detach, files, logged } = setUp();
    files.failWith = new Error("ENOSPC: no space left on device");
    const { job, finish } = detach();
    await Promise.resolve();
    finish("Paris");
    await jobs.wait(caller, job.id, { maxWaitMs: 5000 });
    await jobs.settled();
    expect(await jobs.get(caller, job.id)).toMatchObject({ state: "succeeded", result: { text: "Paris" } });
    expect(logged.join("\n")).toMatch(/jobs: generate-\w+ was not saved.*ENOSPC/);
  });

  it("is removed, oldest first, when all exceed the size limit", async () => {
    const { jobs, caller, detach, clock } = setUp(undefined, { maxBytes: 1500 });
    for (const text of ["first", "second", "third"]) {
      const { job, finish } = detach();
      await Promise.resolve();
      finish(text.padEnd(400));
      await jobs.wait(caller, job.id, { maxWaitMs: 5000 });
      clock.nowMs += 1000;
    }
    expect(jobs.list()).toHaveLength(2);
  });
});

describe("jobs of an earlier daemon", () => {
  it("are restored with their answers", async () => {
    const first = setUp();
    const { job, finish } = first.detach();
    await Promise.resolve();
    finish("Paris");
    await first.jobs.wait(first.caller, job.id, { maxWaitMs: 5000 });
    await first.jobs.settled();
    const next = setUp(first.files);
    await next.jobs.restore({ pull: noPulls, batch: noPulls }, restored);
    expect(next.jobs.list()).toMatchObject([{ id: job.id, state: "succeeded" }]);
    expect(await next.jobs.get(next.caller, job.id)).toMatchObject({ result: { text: "Paris" } });
  });

  it("have failed if they were generating when it was closed or killed", async () => {
    const killed = setUp();
    const { job } = killed.detach();
    const closed = setUp(killed.files);
    const other = closed.detach();
    await Promise.resolve();
    closed.jobs.suspend();
    await closed.operations.close();
    await closed.jobs.settled();
    const next = setUp(killed.files);
    await next.jobs.restore({ pull: noPulls, batch: noPulls }, restored);
    for (const id of [job.id, other.job.id]) {
      expect(await next.jobs.get(next.caller, id)).toMatchObject({
        state: "failed",
        error: "Error in route_and_generate: the daemon exited while the job was running",
      });
    }
  });

  it("are set aside if they can't be read, and ignored if they are newer", async () => {
    const files = createMemoryJobFiles();
    files.texts.set("pull-1", "{half");
    files.texts.set("pull-2", '{"schemaVersion":2}');
    const { jobs, logged } = setUp(files);
    await jobs.restore({ pull: noPulls, batch: noPulls }, restored);
    expect(jobs.list()).toEqual([]);
    expect([...files.texts.entries()]).toEqual([
      ["pull-2", '{"schemaVersion":2}'],
      ["pull-1.broken", "{half"],
    ]);
    expect(logged.join("\n")).toMatch(/pull-1 can't be read; its file is now pull-1.broken/);
  });

  it("are ignored if the id differs from the file name", async () => {
    const first = setUp();
    const { job } = first.detach();
    await expect.poll(() => first.files.texts.has(job.id)).toBe(true);
    first.files.texts.set("generate-0", first.files.texts.get(job.id) ?? "");
    first.files.texts.delete(job.id);
    const next = setUp(first.files);
    await next.jobs.restore({ pull: noPulls, batch: noPulls }, restored);
    expect(next.jobs.list()).toEqual([]);
    expect(first.files.texts.has("generate-0.broken")).toBe(true);
  });
});

describe("a pull", () => {
  /** A pull that one call waits for; aborted, it ends when `stopped` does. */
  function pull(world: ReturnType<typeof setUp>, stopped: Promise<unknown> = Promise.resolve()) {
    const call = new AbortController();
    let finish!: (result: PullResult) => void;
    const operation = world.operations.start<PullResult>({ kind: "pull", title: "pull a" }, ({ signal }) => {
      return new Promise((resolve, reject) => {
        finish = resolve;
        signal.addEventListener("abort", () => void stopped.then(() => reject(new Cancelled("aborted"))));
      });
    });
    const waiting = operation.follow(call.signal);
    waiting.catch(() => undefined);
    world.jobs.recordPull(operation, "test", { model: "a", engine: "ollama" }, world.operations.ended(operation.id));
    return { operation, call, waiting, finish: () => finish(pulled) };
  }

  it("is on disk while its call waits for it, and not listed as a job", async () => {
    const world = setUp();
    const { operation, finish, waiting } = pull(world);
    await expect.poll(() => world.files.texts.size).toBe(1);
    expect(world.jobs.list()).toEqual([]);
    await expect(world.jobs.get(world.caller, operation.id)).rejects.toBeInstanceOf(UnknownJob);
    finish();
    await waiting;
    await expect.poll(() => world.files.texts.size).toBe(0);
  });

  it("that is cancelled is removed, and not restored", async () => {
    const world = setUp();
    const { call } = pull(world);
    await expect.poll(() => world.files.texts.size).toBe(1);
    call.abort("cancelled");
    await expect.poll(() => world.files.texts.size).toBe(0);
  });

  it("that is cancelled is removed from disk before its daemon exits", async () => {
    const files = createMemoryJobFiles();
    const slow = createGate();
    const remove = async (id: string) => {
      await slow.pass();
      await files.remove(id);
    };
    const world = setUp({ ...files, remove });
    const { call, waiting } = pull(world);
    call.abort("cancelled");
    await expect(waiting).rejects.toBeInstanceOf(Cancelled);
    await slow.entered;
    world.jobs.suspend();
    await world.operations.close();
    let isSettled = false;
    const settled = world.jobs.settled().then(() => (isSettled = true));
    await nextTurn();
    expect(isSettled).toBe(false);
    slow.open();
    await settled;
    expect(files.texts.size).toBe(0);
  });

  it("that is cancelled and stops only when its daemon exits is not resumed", async () => {
    const world = setUp();
    const stopped = createGate();
    const { call, waiting } = pull(world, stopped.pass());
    await expect.poll(() => world.files.texts.size).toBe(1);
    call.abort("cancelled");
    await expect(waiting).rejects.toBeInstanceOf(Cancelled);
    world.jobs.suspend();
    const closed = world.operations.close();
    stopped.open();
    await closed;
    await world.jobs.settled();
    expect(world.files.texts.size).toBe(0);
  });

  it("that is a job, is cancelled and stops only when its daemon exits, stays cancelled", async () => {
    const world = setUp();
    const stopped = createGate();
    const { operation } = pull(world, stopped.pass());
    const outcome = operation.follow(new AbortController().signal).then(({ name }) => ({ name }));
    world.jobs.adopt(world.caller, { tool: "pull_model", operation, outcome, errorText: String });
    await Promise.resolve();
    const cancelling = world.jobs.cancel(world.caller, operation.id);
    world.jobs.suspend();
    const closed = world.operations.close();
    stopped.open();
    await Promise.all([closed, cancelling]);
    await world.jobs.settled();
    const next = setUp(world.files);
    await next.jobs.restore({ pull: noPulls, batch: noPulls }, restored);
    expect(next.jobs.list()).toMatchObject([{ id: operation.id, state: "cancelled" }]);
  });

  it.each(["closed", "killed"])("is resumed under the same id by the next daemon when this one is %s", async (how) => {
    const world = setUp();
    const { operation } = pull(world);
    await expect.poll(() => world.files.texts.size).toBe(1);
    if (how === "closed") {
      world.jobs.suspend();
      await world.operations.close();
      await world.jobs.settled();
    }
    const next = setUp(world.files);
    let finish!: (result: PullResult) => void;
    const spec = { kind: "pull", title: "pull a", id: operation.id } as const;
    const again = vi.fn((_kept: unknown) =>
      next.operations.start<PullResult>(spec, () => new Promise((resolve) => (finish = resolve))),
    );
    await next.jobs.restore({ pull: again, batch: noPulls }, restored);
    expect(again.mock.calls).toEqual([[{ id: operation.id, pull: { model: "a", engine: "ollama" } }]]);
    expect(next.jobs.list()).toMatchObject([{ id: operation.id, state: "running" }]);
    finish(pulled);
    expect(await next.jobs.wait(next.caller, operation.id, { maxWaitMs: 5000 })).toMatchObject({
      state: "succeeded",
      result: { name: "a" },
    });
    await next.jobs.settled();
    const third = setUp(world.files);
    await third.jobs.restore({ pull: noPulls, batch: noPulls }, restored);
    expect(third.jobs.list()).toMatchObject([{ state: "succeeded" }]);
  });

  it("that can't be resumed has failed, with the reason", async () => {
    const world = setUp();
    const { operation } = pull(world);
    await expect.poll(() => world.files.texts.size).toBe(1);
    const next = setUp(world.files);
    const refused = vi.fn().mockThrow(new LoadFailed("no engine ollama any more"));
    await next.jobs.restore({ pull: refused, batch: noPulls }, restored);
    expect(await next.jobs.wait(next.caller, operation.id, { maxWaitMs: 5000 })).toMatchObject({
      state: "failed",
      error: expect.stringContaining("no engine ollama any more"),
    });
  });
});
