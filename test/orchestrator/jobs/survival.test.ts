import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Cancelled } from "../../../src/orchestrator/api/errors.ts";
import { createJobFiles } from "../../../src/orchestrator/jobs/record.ts";
import { createDocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";
import { pullAnswer } from "../../../src/tools/manage-model.ts";
import { type FakeEngine, createFakeEngine, createGate } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

let home: string;
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), "ollm-survival-"));
});
afterEach(() => rm(home, { recursive: true, force: true }));

const answers = { ofPull: pullAnswer, ofBatch: () => ({}), ofError: (error: unknown) => String(error) };

/** A daemon whose engine pulls until the gate opens. */
function daemon() {
  const gate = createGate();
  const engine: FakeEngine = createFakeEngine("ollama", []);
  const asked: string[] = [];
  const { library } = engine;
  if (library === undefined) throw new Error("the fake has a library");
  const slow = {
    ...engine,
    library: {
      ...library,
      async pull(name: string, report: Parameters<typeof library.pull>[1], signal: AbortSignal) {
        asked.push(name);
        await gate.pass(signal);
        return library.pull(name, report, signal);
      },
    },
  };
  const jobFiles = createJobFiles(path.join(home, "jobs"), createDocumentFiles(path.join(home, "jobs")));
  return { ...createTestOrchestrator([slow], { jobFiles, now: Date.now }), gate, asked, jobFiles };
}

describe("a pull", () => {
  it("that was running when its daemon exited is resumed by the next one, under the same id", async () => {
    const first = daemon();
    const caller = first.caller();
    const operation = await first.orchestrator.pullModel(caller, { model: "smollm2:135m" });
    const waiting = operation.follow(caller.signal);
    await first.gate.entered;
    await expect.poll(() => first.jobFiles.list()).toEqual([operation.id]);
    await Promise.all([first.orchestrator.close(), expect(waiting).rejects.toBeInstanceOf(Cancelled)]);

    const second = daemon();
    await second.orchestrator.resume(answers);
    await second.gate.entered;
    expect(second.asked).toEqual(["smollm2:135m"]);
    expect(second.orchestrator.activity()).toMatchObject({ operations: [{ kind: "pull" }], pinned: 0 });
    expect((await second.orchestrator.systemStatus(second.caller())).operations).toMatchObject([
      { id: operation.id, title: "pull smollm2:135m", isJob: true },
    ]);
    // A new call for the same model joins it.
    const joined = await second.orchestrator.pullModel(second.caller(), { model: "smollm2:135m" });
    expect(joined.id).toBe(operation.id);
    second.gate.open();
    const ended = await second.orchestrator.jobs.wait(second.caller(), operation.id, { maxWaitMs: 10_000 });
    expect(ended).toMatchObject({ state: "succeeded", result: { name: "smollm2:135m", engine: "ollama" } });
    await second.orchestrator.close();

    const third = daemon();
    await third.orchestrator.resume(answers);
    expect(third.asked).toEqual([]);
    expect(await third.orchestrator.jobs.get(third.caller(), operation.id)).toMatchObject({
      state: "succeeded",
      result: { name: "smollm2:135m" },
    });
    await third.orchestrator.close();
  });

  it("that was cancelled stays cancelled", async () => {
    const first = daemon();
    const call = new AbortController();
    const operation = await first.orchestrator.pullModel(first.caller(), { model: "smollm2:135m" });
    const waiting = operation.follow(call.signal);
    await first.gate.entered;
    call.abort("cancelled");
    await expect(waiting).rejects.toBeInstanceOf(Cancelled);
    await first.orchestrator.close();
    const second = daemon();
    await second.orchestrator.resume(answers);
    expect(second.asked).toEqual([]);
    expect(await second.jobFiles.list()).toEqual([]);
    await second.orchestrator.close();
  });

  it("for an engine that is no longer configured has failed, with a next step", async () => {
    const first = daemon();
    const operation = await first.orchestrator.pullModel(first.caller(), { model: "smollm2:135m" });
    await expect.poll(() => first.jobFiles.list()).toEqual([operation.id]);
    await first.orchestrator.close();
    const jobFiles = createJobFiles(path.join(home, "jobs"), createDocumentFiles(path.join(home, "jobs")));
    const second = createTestOrchestrator([], { jobFiles, now: Date.now });
    await second.orchestrator.resume(answers);
    const job = await second.orchestrator.jobs.wait(second.caller(), operation.id, { maxWaitMs: 10_000 });
    expect(job).toMatchObject({ state: "failed", error: expect.stringContaining("ollama") });
    await second.orchestrator.close();
  });
});
