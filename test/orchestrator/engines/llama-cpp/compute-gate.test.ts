import { describe, expect, it } from "vitest";
import { Cancelled } from "../../../../src/orchestrator/api/errors.ts";
import { ComputeGate } from "../../../../src/orchestrator/engines/llama-cpp/compute-gate.ts";
import { never } from "./engine-under-test.ts";

/** Work that ends by hand, and what happens to it. */
function workIn(gate: ComputeGate) {
  const events: string[] = [];
  const enter = (
    name: string,
    place: { readonly background?: AbortSignal; process?: object; width?: number; isShared?: boolean } = {},
  ) => {
    let end: () => void = () => {};
    const ended = new Promise<void>((resolve) => (end = resolve));
    const done = gate.run(
      never,
      async (turn) => {
        events.push(`${name} starts`);
        turn.pausable({
          pause: async () => void events.push(`${name} pauses`),
          resume: () => events.push(`${name} continues`),
        });
        await ended;
        events.push(`${name} ends`);
      },
      { process: {}, ...place, width: () => place.width ?? 1 },
    );
    return {
      async end() {
        end();
        await done;
      },
    };
  };
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  return { events, enter, turn };
}

describe("compute gate", () => {
  it("runs work one at a time, in order, with the time that it waited", async () => {
    let clock = 0;
    const gate = new ComputeGate(() => clock);
    const events: string[] = [];
    const finish: (() => void)[] = [];
    const enter = (name: string) =>
      gate.run(never, async ({ waitedMs }) => {
        events.push(`${name} after ${waitedMs}`);
        await new Promise<void>((resolve) => finish.push(resolve));
      });
    const all = [enter("a"), enter("b"), enter("c")];
    for (const index of [0, 1, 2]) {
      await expect.poll(() => finish.length).toBe(index + 1);
      clock += 10;
      finish[index]?.();
    }
    await Promise.all(all);
    expect(events).toEqual(["a after 0", "b after 10", "c after 20"]);
  });
  it("removes a cancelled caller from the queue", async () => {
    const gate = new ComputeGate(() => 0);
    let finish: () => void = () => {};
    const first = gate.run(never, () => new Promise<void>((resolve) => (finish = resolve)));
    const controller = new AbortController();
    const second = gate.run(controller.signal, async () => "second");
    const third = gate.run(never, async () => "third");
    controller.abort();
    await expect(second).rejects.toBeInstanceOf(Cancelled);
    finish();
    await first;
    expect(await third).toBe("third");
  });
  it("pauses work in the background for other work, and never the reverse", async () => {
    const { events, enter, turn } = workIn(new ComputeGate(() => 0));
    const letGo = new AbortController();
    const job = enter("job", { background: letGo.signal });
    const question = enter("question");
    await turn();
    expect(events).toEqual(["job starts"]);
    letGo.abort();
    await turn();
    expect(events.splice(0)).toEqual(["job starts", "job pauses", "question starts"]);
    const other = enter("other job", { background: letGo.signal });
    await question.end();
    await turn();
    expect(events.splice(0)).toEqual(["question ends", "job continues"]);
    await job.end();
    await turn();
    expect(events.splice(0)).toEqual(["job ends", "other job starts"]);
    await other.end();
  });
  it("lets work in the background wait a moment after a question, because the next one often follows at once", async () => {
    const graceMs = 30;
    const { events, enter, turn } = workIn(new ComputeGate(() => performance.now(), graceMs));
    const job = enter("job", { background: AbortSignal.abort() });
    const asks = { background: new AbortController().signal };
    for (const name of ["first", "second"]) {
      const question = enter(name, asks);
      await turn();
      await question.end();
      await turn();
    }
    expect(events).toEqual(["job starts", "job pauses", "first starts", "first ends", "second starts", "second ends"]);
    await expect.poll(() => events.at(-1)).toBe("job continues");
    await job.end();
  });
  it("continues the first work when the one that it was paused for is in the background, too", async () => {
    const { events, enter, turn } = workIn(new ComputeGate(() => 0));
    const second = new AbortController();
    const job = enter("job", { background: AbortSignal.abort() });
    const question = enter("question", { background: second.signal });
    await turn();
    second.abort();
    await turn();
    expect(events.slice(1)).toEqual(["job pauses", "question starts", "question pauses", "job continues"]);
    await job.end();
    await turn();
    expect(events.slice(5)).toEqual(["job ends", "question continues"]);
    await question.end();
  });
  it("doesn't pause work for other work that its process has no room for", async () => {
    const { events, enter, turn } = workIn(new ComputeGate(() => 0));
    const background = AbortSignal.abort();
    const [one, other] = [{}, {}];
    const job = enter("job", { background, process: one });
    const same = enter("same model", { process: one });
    await turn();
    expect(events).toEqual(["job starts"]);
    const elsewhere = enter("other model", { process: other });
    await turn();
    expect(events.splice(0)).toEqual(["job starts", "job pauses", "other model starts"]);
    await elsewhere.end();
    const beside = enter("second sequence", { process: one, width: 2 });
    await turn();
    expect(events.slice(2)).toEqual(["job pauses", "second sequence starts"]);
    await beside.end();
    await job.end();
    await same.end();
  });
  it("computes shared work of one process together, as much as there is room for, and nothing of another beside it", async () => {
    const { events, enter, turn } = workIn(new ComputeGate(() => 0));
    const place = { process: {}, width: 2, isShared: true };
    const [one, two, three] = [enter("one", place), enter("two", place), enter("three", place)];
    const other = enter("other", { process: {}, width: 2, isShared: true });
    await turn();
    expect(events.splice(0)).toEqual(["one starts", "two starts"]);
    await one.end();
    await turn();
    // In the order of arrival.
    expect(events.splice(0)).toEqual(["one ends", "three starts"]);
    await two.end();
    const late = enter("late", place);
    await turn();
    expect(events.splice(0)).toEqual(["two ends"]);
    await three.end();
    await turn();
    expect(events.splice(0)).toEqual(["three ends", "other starts"]);
    await other.end();
    await turn();
    expect(events.splice(0)).toEqual(["other ends", "late starts"]);
    await late.end();
  });
  it("lets no later work of a process pass one that needs the process for itself", async () => {
    const { events, enter, turn } = workIn(new ComputeGate(() => 0));
    const process = {};
    const shared = { process, width: 4, isShared: true };
    const [one, alone, late] = [enter("one", shared), enter("alone", { ...shared, width: 1 }), enter("late", shared)];
    await turn();
    expect(events.splice(0)).toEqual(["one starts"]);
    await one.end();
    await turn();
    expect(events.splice(0)).toEqual(["one ends", "alone starts", "late starts"]);
    await Promise.all([alone.end(), late.end()]);
  });
  it("pauses what goes into the background beside other work of its process, until that has ended", async () => {
    const { events, enter, turn } = workIn(new ComputeGate(() => 0));
    const place = { process: {}, width: 4, isShared: true };
    const letGo = new AbortController();
    const [job, question] = [enter("job", { ...place, background: letGo.signal }), enter("question", place)];
    await turn();
    letGo.abort();
    await turn();
    expect(events.splice(0)).toEqual(["job starts", "question starts", "job pauses"]);
    const another = enter("another", place);
    await turn();
    expect(events.splice(0)).toEqual(["another starts"]);
    await question.end();
    await another.end();
    await turn();
    const second = enter("second job", { ...place, background: AbortSignal.abort() });
    await turn();
    expect(events.splice(0)).toEqual(["question ends", "another ends", "job continues", "second job starts"]);
    await Promise.all([job.end(), second.end()]);
  });
  it("continues after a failure", async () => {
    const gate = new ComputeGate(() => 0);
    await expect(gate.run(never, () => Promise.reject(new Error("boom")))).rejects.toThrow("boom");
    expect(await gate.run(never, async () => "next")).toBe("next");
  });
});
