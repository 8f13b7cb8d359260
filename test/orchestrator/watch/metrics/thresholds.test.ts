import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import {
  type ThresholdKind,
  boundOf,
  describeBreach,
  keptText,
  nextBreach,
  readingOf,
  recentOf,
} from "../../../../src/orchestrator/watch/metrics/thresholds.ts";

type Breach = NonNullable<ReturnType<typeof nextBreach>>;
type WatchedRequest = ReturnType<typeof recentOf>[number];

const minute = 60_000;

function request(change: Partial<WatchedRequest> = {}): WatchedRequest {
  return { atMs: 0, model: "a:1b", queueMs: 0, loadMs: 0, firstTokenMs: 100, promptTokens: 50, ...change };
}

function times(count: number, change: Partial<WatchedRequest> = {}): WatchedRequest[] {
  return Array.from({ length: count }, () => request(change));
}

/** The states after each request, one a minute, each judged when it ended. */
function statesOver(kind: ThresholdKind, bound: number, requests: readonly Partial<WatchedRequest>[]) {
  const seen: WatchedRequest[] = [];
  let breach: Breach | undefined;
  return requests.map((change, at) => {
    const nowMs = at * minute;
    seen.push(request({ ...change, atMs: nowMs }));
    breach = nextBreach(breach, kind, readingOf(kind, recentOf(seen, nowMs)), bound, nowMs);
    return { nowMs, breach };
  });
}

/** How often the threshold was crossed and kept again. */
function changesOf(states: readonly { readonly breach: Breach | undefined }[]): number {
  let changes = 0;
  for (const [at, { breach }] of states.entries()) {
    if ((breach === undefined) !== (states[at - 1]?.breach === undefined)) changes += 1;
  }
  return changes;
}

describe("a reading", () => {
  it("of latency counts queue and load, leaves out failures, and ignores one slow request of twenty", () => {
    const quick = times(18, { queueMs: 10, loadMs: 20, firstTokenMs: 70 });
    const slow = request({ firstTokenMs: 9_000 });
    expect(readingOf("latency", [...quick, slow, request({ error: "queue_full" })])).toEqual({ value: 100, count: 19 });
    expect(readingOf("latency", [...quick, slow, slow])).toEqual({ value: 9_000, count: 20 });
  });

  it("of success is the share of answered requests", () => {
    expect(readingOf("success_rate", [...times(9), request({ error: "load_failed" })])).toEqual({
      value: 0.9,
      count: 10,
    });
    expect(readingOf("success_rate", [])).toEqual({ value: 1, count: 0 });
  });

  it("is of the newest twenty of the last hour", () => {
    const requests = Array.from({ length: 90 }, (_, at) => request({ atMs: at * minute }));
    expect(recentOf(requests, 90 * minute)).toEqual(requests.slice(-20));
    expect(recentOf(requests, 140 * minute)).toEqual(requests.slice(81));
    expect(recentOf(requests, 150 * minute)).toEqual([]);
  });
});

describe("a threshold", () => {
  it("is reported from ten requests on", () => {
    const slow = times(30, { firstTokenMs: 2_000 });
    const states = statesOver("latency", 1_000, slow);
    expect(states.findIndex(({ breach }) => breach !== undefined)).toBe(9);
  });

  it("is kept again once it is clearly kept for five minutes", () => {
    const states = statesOver("latency", 1_000, [
      ...times(20, { firstTokenMs: 2_000 }),
      ...times(40, { firstTokenMs: 500 }),
    ]);
    const begun = states.findIndex(({ breach }) => breach !== undefined);
    const clear = states.findIndex(({ breach }) => breach?.keptSinceMs !== undefined);
    const ended = states.findIndex(({ breach }, at) => at > begun && breach === undefined);
    // Nineteen quick requests leave one slow one among the last twenty.
    expect([begun, clear, ended]).toEqual([9, 38, 43]);
    expect(changesOf(states)).toBe(2);
  });

  it("begins to settle anew when it is missed in between", () => {
    const since = { sinceMs: 0, keptSinceMs: 4 * minute };
    expect(nextBreach(since, "latency", { value: 950, count: 20 }, 1_000, 8 * minute)).toEqual({ sinceMs: 0 });
  });

  it("is no longer judged with few requests, and ends at once without a bound", () => {
    const since = { sinceMs: 0 };
    const few = nextBreach(since, "success_rate", { value: 0, count: 4 }, 0.9, minute);
    expect(few).toEqual({ sinceMs: 0, keptSinceMs: minute });
    expect(nextBreach(few, "success_rate", { value: 0, count: 4 }, 0.9, 6 * minute)).toBeUndefined();
    expect(nextBreach(since, "latency", { value: 9_000, count: 20 }, undefined, minute)).toBeUndefined();
  });

  it("has no default but a success rate of 50 % per model", () => {
    expect(boundOf("success_rate", {}, "model")).toBe(0.5);
    expect(boundOf("success_rate", {}, "profile")).toBeUndefined();
    expect(boundOf("success_rate", { minSuccessRate: 0.9 }, "model")).toBe(0.9);
    expect(boundOf("latency", {}, "model")).toBeUndefined();
  });

  test("does not flap on latencies that move around its bound", () => {
    // Plateaus, so that whole windows are above and below it.
    const plateau = fc.tuple(fc.integer({ min: 905, max: 1_100 }), fc.integer({ min: 1, max: 40 }));
    fc.assert(
      fc.property(fc.array(plateau, { minLength: 1, maxLength: 10 }), (plateaus) => {
        const all = plateaus.flatMap(([firstTokenMs, length]) => times(length, { firstTokenMs }));
        expect(changesOf(statesOver("latency", 1_000, all))).toBeLessThanOrEqual(1);
      }),
    );
  });

  test("does not flap on failures that come about as often as allowed", () => {
    // Of each five requests one or two fail, and 30 % are allowed: the last twenty have more than half of that.
    const five = fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 0, max: 4 }));
    const runs = fc.array(fc.tuple(five, fc.integer({ min: 1, max: 8 })), { minLength: 2, maxLength: 10 });
    fc.assert(
      fc.property(runs, (all) => {
        const requests = all.flatMap(([[failures, first], length]) =>
          Array.from({ length: length * 5 }, (_, at) => ((at + first) % 5 < failures ? { error: "load_failed" } : {})),
        );
        expect(changesOf(statesOver("success_rate", 0.7, requests))).toBeLessThanOrEqual(1);
      }),
    );
  });

  test("stays breached for five minutes at least, whatever happens", () => {
    const anything = fc.record({
      firstTokenMs: fc.integer({ min: 0, max: 3_000 }),
      afterMs: fc.integer({ min: 0, max: 10 * minute }),
      isFailure: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.constantFrom<ThresholdKind>("latency", "success_rate"),
        fc.array(anything, { maxLength: 200 }),
        (kind, all) => {
          const seen: WatchedRequest[] = [];
          let breach: Breach | undefined;
          let nowMs = 0;
          for (const { firstTokenMs, afterMs, isFailure } of all) {
            nowMs += afterMs;
            seen.push(request({ atMs: nowMs, firstTokenMs, ...(isFailure && { error: "load_failed" }) }));
            const bound = kind === "latency" ? 1_000 : 0.7;
            const next = nextBreach(breach, kind, readingOf(kind, recentOf(seen, nowMs)), bound, nowMs);
            if (breach !== undefined && next === undefined)
              expect(nowMs - breach.sinceMs).toBeGreaterThanOrEqual(5 * minute);
            if (breach !== undefined && next !== undefined) expect(next.sinceMs).toBe(breach.sinceMs);
            breach = next;
          }
        },
      ),
    );
  });
});

describe("a breach", () => {
  const calm = { pressure: {}, evictions: () => 0 };
  const slow = (requests: readonly WatchedRequest[], around: Partial<Parameters<typeof describeBreach>[4]> = {}) =>
    describeBreach({ kind: "profile", name: "code" }, "latency", 1_000, requests, { ...calm, ...around });
  const failing = (requests: readonly WatchedRequest[]) =>
    describeBreach({ kind: "model", name: "a:1b" }, "success_rate", 0.5, requests, calm);

  it.each<readonly [string, ReturnType<typeof slow>, string, object]>([
    [
      "eviction",
      slow(times(10, { loadMs: 3_000 }), { evictions: () => 4 }),
      "profile code: first token after 3.1 s (p95 of 10 requests), 1.0 s allowed: 10 of 10 had to load a:1b first (3.0 s each): it was evicted 4 times in the last hour to make room for other models",
      { step: "pinModel", model: "a:1b" },
    ],
    [
      "a short keep-alive",
      slow(times(10, { loadMs: 3_000 })),
      "profile code: first token after 3.1 s (p95 of 10 requests), 1.0 s allowed: 10 of 10 had to load a:1b first (3.0 s each): it is unloaded between requests",
      { step: "raiseSetting", setting: "model.keepAlive.timeout" },
    ],
    [
      "a long queue",
      slow(times(10, { queueMs: 5_000, loadMs: 200 })),
      "profile code: first token after 5.3 s (p95 of 10 requests), 1.0 s allowed: they wait 5.0 s for others: too many requests at once",
      { step: "advice", text: "send fewer requests at a time" },
    ],
    [
      "swapping",
      slow(times(10, { firstTokenMs: 2_000 }), { pressure: { swap: "3.0 GB of 4.0 GB swap in use", cpu: "CPU busy" } }),
      "profile code: first token after 2.0 s (p95 of 10 requests), 1.0 s allowed: 3.0 GB of 4.0 GB swap in use",
      { step: "advice", text: "close programs that use much memory" },
    ],
    [
      "other programs",
      slow(times(10, { firstTokenMs: 2_000 }), { pressure: { cpu: "CPU busy (load 3.1 per core)" } }),
      "profile code: first token after 2.0 s (p95 of 10 requests), 1.0 s allowed: CPU busy (load 3.1 per core)",
      { step: "advice", text: "close other programs that use the CPU" },
    ],
    [
      "long prompts",
      slow([
        ...times(10, { firstTokenMs: 500, promptTokens: 400 }),
        ...times(10, { firstTokenMs: 2_000, promptTokens: 6_000 }),
      ]),
      "profile code: first token after 2.0 s (p95 of 20 requests), 1.0 s allowed: their prompts are long (6000 tokens on average)",
      { step: "shortenPrompt" },
    ],
    [
      "the model",
      slow(times(10, { firstTokenMs: 2_000 })),
      "profile code: first token after 2.0 s (p95 of 10 requests), 1.0 s allowed: a:1b takes 2.0 s to begin an answer on this machine",
      { step: "chooseModel", that: "that is smaller" },
    ],
    [
      "the engine",
      failing([...times(3), ...times(6, { error: "engine_unreachable" }), ...times(1, { error: "load_failed" })]),
      "a:1b: 30 % of the last 10 requests answered, 50 % required: the engine of a:1b does not respond (6 of 7 failures)",
      { step: "checkInstallation" },
    ],
    [
      "answers that broke off",
      failing([...times(3), ...times(7, { error: "connection_lost" })]),
      "a:1b: 30 % of the last 10 requests answered, 50 % required: the engine of a:1b ends its connections before its answers are complete (7 of 7 failures)",
      { step: "checkInstallation" },
    ],
    [
      "memory",
      failing([...times(3), ...times(7, { error: "out_of_memory" })]),
      "a:1b: 30 % of the last 10 requests answered, 50 % required: memory is too short for a:1b (7 of 7 failures)",
      { step: "chooseModel", that: "that is smaller" },
    ],
  ])("names its likely cause: %s", (_cause, { text, next }, expected, step) => {
    expect({ text, next }).toEqual({ text: expected, next: step });
  });

  it("says when it is over", () => {
    const subject = { kind: "profile", name: "code" } as const;
    expect([
      keptText(subject, "latency", 1_000, { value: 400, count: 20 }),
      keptText(subject, "success_rate", 0.9, { value: 0.95, count: 20 }),
      keptText(subject, "latency", 1_000, { value: 0, count: 0 }),
      keptText(subject, "latency", undefined, { value: 400, count: 20 }),
    ]).toEqual([
      "profile code is within its limit again: first token after 400 ms (p95 of 20 requests), 1.0 s allowed",
      "profile code is within its limit again: 95 % of the last 20 requests answered, 90 % required",
      "profile code: too few requests in the last hour to judge",
      "profile code: the threshold was removed",
    ]);
  });

  it("has one line, whatever the names", () => {
    const name = "evil\n\u001b[31m<script>\u202ename";
    const { text } = describeBreach(
      { kind: "model", name },
      "success_rate",
      0.5,
      times(10, { error: "load_failed", model: name }),
      calm,
    );
    expect(["\n", "\u001b", "\u202e"].filter((character) => text.includes(character))).toEqual([]);
  });
});
