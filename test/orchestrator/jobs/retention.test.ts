import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { expiredJobs } from "../../../src/orchestrator/jobs/record.ts";

const hour = 3_600_000;
const limits = { nowMs: 100 * hour, keepHours: 24, maxBytes: 100 };

describe("jobs to remove", () => {
  it("are those that ended longer ago than the retention time", () => {
    const jobs = [
      { id: "old", endedAtMs: 76 * hour, bytes: 1 },
      { id: "young", endedAtMs: 77 * hour, bytes: 1 },
    ];
    expect(expiredJobs(jobs, limits)).toEqual(["old"]);
  });

  it("are the oldest when the total is too large, never running ones", () => {
    const jobs = [
      { id: "first", endedAtMs: 90 * hour, bytes: 40 },
      { id: "running", bytes: 1000 },
      { id: "last", endedAtMs: 99 * hour, bytes: 60 },
      { id: "second", endedAtMs: 95 * hour, bytes: 40 },
    ];
    expect(expiredJobs(jobs, limits)).toEqual(["first"]);
  });

  it("keep the rest below the limit, and are never newer than a remaining one", () => {
    const job = fc.record({ endedAtMs: fc.nat(100 * hour), bytes: fc.nat(80) });
    fc.assert(
      fc.property(fc.array(job, { maxLength: 20 }), (ended) => {
        const jobs = ended.map((each, index) => ({ id: String(index), ...each }));
        const gone = new Set(expiredJobs(jobs, limits));
        const kept = jobs.filter(({ id }) => !gone.has(id));
        expect(kept.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(limits.maxBytes);
        const youngestGone = Math.max(-1, ...jobs.filter(({ id }) => gone.has(id)).map(({ endedAtMs }) => endedAtMs));
        for (const { endedAtMs } of kept) expect(endedAtMs).toBeGreaterThanOrEqual(youngestGone);
      }),
    );
  });
});
