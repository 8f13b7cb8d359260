import { describe, expect, it } from "vitest";
import { asked, expectQuiet, free, handMachine } from "./hand-machine.ts";

const model = { loadMs: 1_000, answerMs: 1_000, isEmbedded: true, pausesAnswers: true };

describe("a request in the background", () => {
  /** A job that its caller let go of, and what was measured of its answer. */
  async function withJob(world: Parameters<typeof handMachine>[1]["world"] = {}) {
    const measured: number[] = [];
    const answered = (_id: string, ms: number) => void measured.push(ms);
    const machine = handMachine({ a: model }, { capacity: 1, world: { ...world, answered } });
    await free(machine, "a");
    measured.length = 0;
    const letGo = new AbortController();
    const job = await machine.ask("a", { caller: "job", background: letGo.signal });
    return { machine, measured, letGo, job };
  }

  it("is paused from the moment on when its caller lets go of it, and its pauses are not measured", async () => {
    const { machine, measured, letGo, job } = await withJob();
    const order: string[] = [];
    const question = asked(order, "question", machine.ask("a"), { machine, ms: 2_000 });
    await machine.pass(1_000);
    expect(order).toEqual([]);
    letGo.abort();
    await machine.settle();
    expect(order).toEqual(["question"]);
    expect((await question).crowd).toEqual({ answered: 2, wanted: 2, isBesidePaused: true });
    await machine.pass(3_000);
    job.release();
    await machine.settle();
    // 1 s before, 1 s after the question.
    expect(measured).toEqual([2_000, 2_000]);
    expectQuiet(machine);
  });

  it("that waits goes behind requests that came later, once its caller lets go of it", async () => {
    const { machine, job } = await withJob();
    const order: string[] = [];
    const letGo = new AbortController();
    const waiting = asked(order, "waiting job", machine.ask("a", { caller: "x", background: letGo.signal }));
    const question = asked(order, "question", machine.ask("a", { caller: "y" }));
    letGo.abort();
    await machine.settle();
    job.release();
    await Promise.all([waiting, question]);
    expect(order).toEqual(["question", "waiting job"]);
    await machine.settle();
    expectQuiet(machine);
  });

  it("continues for 5 s at least every 30 s, however many questions come", async () => {
    const { machine, letGo, job } = await withJob();
    letGo.abort();
    let isOver = false;
    let pausedMs = 0;
    const ask = async (): Promise<void> => {
      const slot = await machine.ask("a", { caller: "many" });
      pausedMs += 4_000;
      machine.clock.after(4_000, () => {
        slot.release();
        if (!isOver) void ask();
      });
    };
    void ask();
    await machine.pass(100_000);
    // In each round of 37 s: 32 s of questions, of which the last begins before 30 s, and 5 s of the job.
    expect(pausedMs).toBeGreaterThan(70_000);
    expect(pausedMs).toBeLessThanOrEqual(92_000);
    isOver = true;
    await machine.pass(10_000);
    job.release();
    await machine.settle();
    expectQuiet(machine);
  });

  it("is not paused without memory for a second cache, and the wait says why", async () => {
    const { machine, letGo, job } = await withJob({ hasRoomBeside: () => Promise.resolve(false) });
    letGo.abort();
    const order: string[] = [];
    const messages: string[] = [];
    const report = ({ message }: { readonly message: string }) => void messages.push(message);
    const question = asked(order, "question", machine.ask("a", { report }));
    await machine.pass(1_000);
    expect(messages).toEqual([
      expect.stringContaining("too little memory is free for one more answer at the same time"),
    ]);
    expect(order).toEqual([]);
    job.release();
    await question;
    await machine.settle();
    expectQuiet(machine);
  });

  it("is paused soon after another program has freed the memory for it", async () => {
    let isFree = false;
    const { machine, letGo, job } = await withJob({ hasRoomBeside: () => Promise.resolve(isFree) });
    letGo.abort();
    const order: string[] = [];
    const question = asked(order, "question", machine.ask("a"));
    await machine.pass(1_000);
    expect(order).toEqual([]);
    isFree = true;
    await machine.pass(3_000);
    expect(order).toEqual(["question"]);
    await question;
    job.release();
    await machine.settle();
    expectQuiet(machine);
  });

  it("that is paused is not evicted: its model stays in use", async () => {
    const models = { a: model, b: model };
    const machine = handMachine(models, { capacity: 1 });
    await free(machine, "a");
    const job = await machine.ask("a", { background: AbortSignal.abort() });
    const question = await machine.ask("a");
    const order: string[] = [];
    const other = asked(order, "other", machine.ask("b"));
    await machine.pass(40_000);
    question.release();
    await machine.pass(40_000);
    expect(machine.log).not.toContain("evict a");
    job.release();
    await machine.pass(2_000);
    await other;
    expect(machine.log).toContain("evict a");
  });
});
