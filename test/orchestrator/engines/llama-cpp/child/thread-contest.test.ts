import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import {
  createDecodeThreads,
  createThreadContest,
  keptSpeeds,
} from "../../../../../src/orchestrator/engines/llama-cpp/child/threads.ts";

type ThreadContest = ReturnType<typeof createThreadContest>;

/** Evaluates chunks at the given speeds and returns the threads that were used. */
const run = (contest: ThreadContest, chunks: number, speedOf: (threads: number) => number): readonly number[] =>
  Array.from({ length: chunks }, () => {
    const threads = contest.next();
    contest.measured(threads, speedOf(threads));
    return threads;
  });
const idle = (threads: number) => threads;
const busy = (threads: number) => (threads === 1 ? 0.8 : 0.02);

describe("threads of a prompt", () => {
  it("each count evaluates one chunk, one thread first, then the fastest is used", () => {
    expect(run(createThreadContest(4, 5), 6, idle)).toEqual([1, 2, 4, 4, 4, 4]);
  });
  it("one thread is used next to other programs", () => {
    expect(run(createThreadContest(2, 5), 5, busy)).toEqual([1, 2, 1, 1, 1]);
  });
  it("the comparison is repeated after five chunks, then after twice as many", () => {
    const used = run(createThreadContest(2, 5), 100, busy);
    expect(used.flatMap((threads, chunk) => (threads === 2 ? [chunk] : []))).toEqual([1, 8, 20, 42, 84]);
  });
  it("other programs on the cores are noticed at once", () => {
    const contest = createThreadContest(2, 5);
    expect(run(contest, 4, idle)).toEqual([1, 2, 2, 2]);
    expect(run(contest, 5, busy)).toEqual([2, 1, 2, 1, 1]);
  });
  it("one core needs no comparison", () => {
    expect(run(createThreadContest(1, 5), 50, idle)).toEqual(Array.from({ length: 50 }, () => 1));
  });
});

describe("threads of an answer", () => {
  const known = new Map([
    [1, 1 / 140],
    [2, 2 / 140],
  ]);
  /** Writes tokens, so many at once, and returns the threads of each step. */
  const write = (
    steps: number,
    msOf: (threads: number, step: number) => number,
    {
      runningOf = () => 1,
      isHeld = () => false,
    }: { runningOf?: (step: number) => number; isHeld?: (step: number) => boolean } = {},
  ) => {
    let now = 0;
    const llama = { maxThreads: 0 };
    const threads = createDecodeThreads(
      llama,
      2,
      known,
      () => undefined,
      () => now,
    );
    return Array.from({ length: steps }, (_, step) => {
      threads.beforeToken(runningOf(step), isHeld(step));
      now += msOf(llama.maxThreads, step);
      // Every third answer ends, and a prompt is read.
      if (step % 3 === 2) {
        now += 10_000;
        threads.begin();
      }
      return llama.maxThreads;
    });
  };
  const shareOf = (used: readonly number[], threads: number) =>
    used.filter((each) => each === threads).length / used.length;
  const large = (threads: number) => 140 / threads;
  const small = (threads: number) => 7 * threads;

  it("are the ones that were measured at the load, and compared from time to time, also in short answers", () => {
    const used = write(2_000, large);
    expect(used.slice(0, 100)).toEqual(Array.from({ length: 100 }, () => 2));
    expect(used).toContain(1);
    expect(shareOf(used, 2)).toBeGreaterThan(0.97);
  });
  it("are one for a small model, beside which they spin, whatever was measured", () => {
    expect(shareOf(write(2_000, small), 1)).toBeGreaterThan(0.9);
  });
  it("stay the same in answers that should be the same each time", () => {
    expect(new Set(write(2_000, large, { isHeld: () => true }))).toEqual(new Set([2]));
    const used = write(2_000, large, { isHeld: (step) => step % 7 !== 0 });
    expect(new Set(used.filter((_, step) => step % 7 !== 0))).toEqual(new Set([2]));
  });
  it.each([true, false])("are fewer when other programs take the cores, and come back (held: %s)", (isHeld) => {
    const msOf = (threads: number, step: number) => (threads === 2 && step >= 60 && step < 200 ? 1_000 : 140 / threads);
    const used = write(2_000, msOf, { isHeld: (step) => isHeld && step < 200 });
    expect(shareOf(used.slice(75, 200), 1)).toBeGreaterThan(0.9);
    expect(shareOf(used.slice(1_000), 2)).toBeGreaterThan(0.9);
  });
  it("are measured for each number of answers at once", () => {
    const used = write(2_000, (threads, step) => (step % 100 < 50 ? small(threads) : large(threads)), {
      runningOf: (step) => (step % 100 < 50 ? 1 : 8),
    });
    expect(
      shareOf(
        used.filter((_, step) => step % 100 < 50),
        1,
      ),
    ).toBeGreaterThan(0.8);
    expect(
      shareOf(
        used.filter((_, step) => step % 100 >= 50),
        2,
      ),
    ).toBeGreaterThan(0.9);
  });
});

describe("speeds of a model", () => {
  const speeds = new Map([
    [1, 0.007],
    [2, 0.013],
  ]);
  const fileIn = async () => {
    const folder = await mkdtemp(join(tmpdir(), "ollm-speeds-"));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    return join(folder, "speeds", "model.json");
  };

  it("are kept for the next load, which begins with the fastest threads", async () => {
    const file = await fileIn();
    const kept = await keptSpeeds(file, 2);
    expect(kept).toMatchObject({ reading: undefined, writing: undefined });
    await kept.note({ reading: [...speeds].toReversed() });
    await kept.note({ writing: [...speeds] });
    const { reading, writing } = await keptSpeeds(file, 2);
    expect([reading, writing]).toEqual([speeds, speeds]);
    expect(createThreadContest(2, 5, writing).next()).toBe(2);
    if (process.platform !== "win32") expect((await stat(file)).mode & 0o777).toBe(0o600);
  });
  it("are noted when a comparison is decided", () => {
    const noted: unknown[] = [];
    run(
      createThreadContest(2, 5, undefined, (decided) => noted.push([...decided])),
      3,
      idle,
    );
    expect(noted).toEqual([
      [
        [1, 1],
        [2, 2],
      ],
    ]);
  });
  it("of another number of threads are measured again", async () => {
    const file = await fileIn();
    await (await keptSpeeds(file, 2)).note({ writing: [...speeds] });
    expect((await keptSpeeds(file, 4)).writing).toBeUndefined();
  });
  it.each([
    ["cut off", (text: string) => text.slice(0, -9)],
    ["empty", () => ""],
    ["negative", (text: string) => text.replaceAll("0.0", "-0.0")],
    ["without one of the threads", (text: string) => text.replace("[1,0.007],", "")],
    ["of another machine", (text: string) => text.replace('"machine":"', '"machine":"other ')],
    ["nested", () => "[".repeat(100_000)],
  ])("that are damaged are measured again: %s", async (_name, damaged) => {
    const file = await fileIn();
    await (await keptSpeeds(file, 2)).note({ writing: [...speeds] });
    await writeFile(file, damaged(await readFile(file, "utf8")));
    const kept = await keptSpeeds(file, 2);
    expect(kept.writing).toBeUndefined();
    await kept.note({ writing: [...speeds] });
    expect((await keptSpeeds(file, 2)).writing).toEqual(speeds);
  });
});
