import { describe, expect, it } from "vitest";
import { createProgressReporter, type ProgressNote } from "../../src/server/call/progress.ts";
import { handClock } from "../support/hand-clock.ts";

function reporter() {
  const clock = handClock();
  const notes: ProgressNote[] = [];
  const progress = createProgressReporter((note) => notes.push(note), "Load a model", clock);
  return { clock, notes, progress };
}

describe("createProgressReporter", () => {
  it("sends the first report at once", () => {
    const { notes, progress } = reporter();
    progress.report({ message: "loading" });
    expect(notes).toEqual([{ progress: 1, message: "loading" }]);
  });

  it("sends at most four a second, the newest of each quarter", () => {
    const { clock, notes, progress } = reporter();
    for (let step = 1; step <= 100; step += 1) {
      progress.report({ message: "decoding", completionTokens: step });
      clock.advance(10);
    }
    expect(notes.length).toBeLessThanOrEqual(5);
    expect(notes.at(-1)?.message).toBe("decoding, 100 tokens");
  });

  it("repeats the newest message every five seconds without a new one, the title before any", () => {
    const { clock, notes, progress } = reporter();
    clock.advance(5_000);
    progress.report({ message: "waiting for 2 others" });
    clock.advance(12_000);
    expect(notes.map(({ message }) => message)).toEqual([
      "Load a model",
      "waiting for 2 others",
      "waiting for 2 others",
      "waiting for 2 others",
    ]);
  });

  it("only ever goes up, although a resumed download starts lower", () => {
    const { clock, notes, progress } = reporter();
    for (const completedBytes of [5_000_000, 6_000_000, 1_000_000, 0, 7_000_000]) {
      progress.report({ message: "downloading", completedBytes, totalBytes: 7_000_000, bytesPerSecond: 2_500_000 });
      clock.advance(300);
    }
    const values = notes.map((note) => note.progress);
    expect(values).toEqual([5_000_000, 6_000_000, 6_000_001, 6_000_002, 7_000_000]);
    expect(notes.at(-1)).toEqual({
      progress: 7_000_000,
      total: 7_000_000,
      message: "downloading, 7.0 MB",
    });
    expect(notes[0]?.message).toBe("downloading, 5.0 of 7.0 MB, 2.5 MB/s");
  });

  it("adds no figures to a message that has some already", () => {
    const { notes, progress } = reporter();
    progress.report({ message: "downloading: 1.0 MB of 3.0 MB", completedBytes: 1_000_000, totalBytes: 3_000_000 });
    expect(notes[0]?.message).toBe("downloading: 1.0 MB of 3.0 MB");
  });

  it("does not count the first token twice", () => {
    const { notes, progress } = reporter();
    progress.report({ message: "smollm2:135m: 1 token", completionTokens: 1 });
    expect(notes[0]?.message).toBe("smollm2:135m: 1 token");
  });

  it("claims no total that it has passed", () => {
    const { clock, notes, progress } = reporter();
    progress.report({ message: "downloading", completedBytes: 10, totalBytes: 10 });
    clock.advance(300);
    progress.report({ message: "checking", completedBytes: 10, totalBytes: 10 });
    expect(notes.at(-1)).not.toHaveProperty("total");
  });

  it("is silent and holds no timer once stopped", () => {
    const { clock, notes, progress } = reporter();
    progress.report({ message: "a" });
    progress.report({ message: "b" });
    progress.stop();
    progress.report({ message: "c" });
    clock.advance(60_000);
    expect(notes).toHaveLength(1);
    expect(clock.waiting).toBe(0);
  });
});
