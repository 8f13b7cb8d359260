import type { EndedAttempt, EndedRequest, Event, RequestRow } from "../../../../src/orchestrator/api/events.ts";
import { describe, expect, it } from "vitest";
import { EngineUnreachable, InvalidRequest, Cancelled, faultOf } from "../../../../src/orchestrator/api/errors.ts";
import type { ProfileSettings } from "../../../../src/orchestrator/api/types.ts";
import { findProfile } from "../../../../src/orchestrator/config/profiles.ts";
import { busyProcessor, shortMemory } from "../../../../src/orchestrator/memory/state.ts";
import { overridesOf } from "../../../../src/orchestrator/routing/model-overrides.ts";
import { settingsSchema } from "../../../../src/orchestrator/config/schema.ts";
import { Breaches } from "../../../../src/orchestrator/watch/metrics/breaches.ts";
import { handClock } from "../../../support/hand-clock.ts";

const minute = 60_000;

function watched(given: object = {}, sample: object = {}, kept: readonly RequestRow[] = []) {
  const clock = handClock();
  let settings = settingsSchema.parse(given);
  const lines: string[] = [];
  const changes: Event["kind"][] = [];
  const breaches = new Breaches({
    now: clock.now,
    timers: clock,
    limitsOf: ({ kind, name }) =>
      kind === "profile"
        ? findProfile(name, settings.profiles as Readonly<Record<string, ProfileSettings>>)
        : overridesOf(settings.models, name),
    log: {
      debug: () => undefined,
      info: (line) => void lines.push(`info: ${line}`),
      warn: (line) => void lines.push(`warn: ${line}`),
    },
    async pressure() {
      const machine = {
        totalBytes: 16e9,
        availableBytes: 8e9,
        swapTotalBytes: 4e9,
        swapUsedBytes: 0,
        gpus: [],
        sampledAtMs: 0,
        ...sample,
      };
      return { swap: shortMemory(machine), cpu: busyProcessor(machine) };
    },
    requestsSince: async () => kept,
    emit: ({ kind }) => void changes.push(kind),
  });
  return {
    clock,
    lines,
    changes,
    breaches,
    change: (next: object) => (settings = settingsSchema.parse(next)),
    /** As many requests, one a second. */
    requests(count: number, attempt: Partial<EndedAttempt> = {}, request: Partial<EndedRequest> = {}) {
      for (let at = 0; at < count; at += 1) {
        clock.advance(1_000);
        const asked = { model: "a:1b", engine: "ollama", isLocal: true, totalMs: 500, firstTokenMs: 100, ...attempt };
        const own = {
          client: "test",
          task: "code",
          profile: "code",
          totalMs: 500,
          fallbacks: 0,
          fileTokens: 0,
          ...request,
        };
        breaches.note([{ ...own, attempts: [asked] }]);
      }
    },
    texts: async () => (await breaches.list()).map(({ text }) => text),
  };
}

const quick = { profiles: { code: { maxLatencyMs: 1_000 } } };

describe("thresholds", () => {
  it("are watched per profile and per model: one line and one change at the begin and at the end", async () => {
    const { requests, texts, lines, changes, clock } = watched({ ...quick, models: { "a*": { maxLatencyMs: 1_500 } } });
    requests(12, { firstTokenMs: 2_000 });
    expect(await texts()).toEqual([
      "a:1b: first token after 2.0 s (p95 of 12 requests), 1.5 s allowed: a:1b takes 2.0 s to begin an answer on this machine",
      "profile code: first token after 2.0 s (p95 of 12 requests), 1.0 s allowed: a:1b takes 2.0 s to begin an answer on this machine",
    ]);
    expect(lines.map((line) => line.slice(0, 18))).toEqual(["warn: a:1b: first ", "warn: profile code"]);
    expect(changes).toEqual(["figures changed", "memory changed"]);
    requests(20, { firstTokenMs: 200 });
    expect(await texts()).toEqual([
      "a:1b: first token after 200 ms (p95 of 20 requests), 1.5 s allowed: it was missed until a few minutes ago",
      "profile code: first token after 200 ms (p95 of 20 requests), 1.0 s allowed: it was missed until a few minutes ago",
    ]);
    expect(lines).toHaveLength(2);
    // Without another request.
    clock.advance(6 * minute);
    expect(await texts()).toEqual([]);
    expect(lines.slice(2)).toEqual([
      "warn: a:1b is within its limit again: first token after 200 ms (p95 of 20 requests), 1.5 s allowed",
      "warn: profile code is within its limit again: first token after 200 ms (p95 of 20 requests), 1.0 s allowed",
    ]);
    expect(changes).toEqual(["figures changed", "memory changed", "figures changed", "memory changed"]);
  });

  it("end when nothing is asked any more, and leave no timer behind", async () => {
    const { requests, texts, lines, clock } = watched(quick);
    requests(10, { firstTokenMs: 2_000 });
    expect(await texts()).toHaveLength(1);
    clock.advance(70 * minute);
    expect(await texts()).toEqual([]);
    expect(lines.at(-1)).toBe("warn: profile code: too few requests in the last hour to judge");
    expect(clock.waiting).toBe(0);
  });

  it("apply as they are now: one that is removed is no longer missed", async () => {
    const { requests, texts, lines, change } = watched(quick);
    requests(10, { firstTokenMs: 2_000 });
    change({});
    expect(await texts()).toEqual([]);
    expect(lines.at(-1)).toBe("warn: profile code: the threshold was removed");
    change({ profiles: { code: { maxLatencyMs: 1_500 } } });
    expect(await texts()).toHaveLength(1);
  });

  it("have a default: a model that answers less than half of ten requests", async () => {
    const { requests, texts, breaches } = watched();
    const error = faultOf(new EngineUnreachable("connection refused"));
    requests(4);
    requests(5, { error }, { error });
    expect(await texts()).toEqual([]);
    requests(1, { error }, { error });
    expect(await breaches.list()).toEqual([
      {
        kind: "success_rate",
        subject: "a:1b",
        text: "a:1b: 40 % of the last 10 requests answered, 50 % required: the engine of a:1b does not respond (6 of 6 failures)",
        next: { step: "checkInstallation" },
      },
    ]);
  });

  it("are not missed by what says nothing of a model: cancelled requests and bad questions", async () => {
    const { requests, texts } = watched({ profiles: { code: { minSuccessRate: 0.9 } } });
    for (const error of [new Cancelled("gone"), new InvalidRequest("no prompt")].map(faultOf))
      requests(20, { error }, { error });
    expect(await texts()).toEqual([]);
  });

  it("name evictions of the last hour and what slows this machine down", async () => {
    const { requests, texts, breaches, clock } = watched(quick, { swapUsedBytes: 3e9 });
    breaches.noteEvicted(["a:1b"]);
    clock.advance(61 * minute);
    breaches.noteEvicted(["a:1b", "b:1b"]);
    requests(10, { loadMs: 4_000 });
    expect(await texts()).toEqual([expect.stringContaining("it was evicted 1 time in the last hour")]);
    requests(20, { firstTokenMs: 3_000 });
    expect(await texts()).toEqual([expect.stringContaining("3.0 GB of 4.0 GB swap in use")]);
  });

  it("name what was wrong when the requests were slow, not what is wrong since", async () => {
    const sample = { swapUsedBytes: 3e9 };
    const { requests, texts } = watched(quick, sample);
    requests(10, { firstTokenMs: 3_000 });
    sample.swapUsedBytes = 0;
    expect(await texts()).toEqual([expect.stringContaining("3.0 GB of 4.0 GB swap in use")]);
    requests(10, { firstTokenMs: 3_000 });
    sample.swapUsedBytes = 3e9;
    expect(await texts()).toEqual([expect.stringContaining("a:1b takes 3.0 s to begin an answer")]);
  });

  it("go on after a restart with the kept requests: each once, without bad questions", async () => {
    const alone = { model: "a:1b", engine: "ollama", count: 1 };
    const row = (id: number, more: Partial<RequestRow>): RequestRow => ({
      id: String(id),
      startedAt: new Date(-id * minute).toISOString(),
      client: "test",
      task: "code",
      profile: "code",
      model: "a:1b",
      engine: "ollama",
      outcome: "answered",
      attempts: [alone],
      queueMs: 0,
      loadMs: 0,
      firstTokenMs: 2_000,
      totalMs: 2_500,
      promptTokens: 1,
      cachedPromptTokens: 0,
      completionTokens: 1,
      localTokens: [1, 1],
      ...more,
    });
    const refused = [{ ...alone, error: "prompt_too_long" }];
    const kept = [
      // This process noted it itself.
      row(-1, {}),
      ...Array.from({ length: 10 }, (_none, at) => row(at + 1, {})),
      ...Array.from({ length: 15 }, (_none, at) =>
        row(at + 11, { outcome: "failed:prompt_too_long", attempts: refused }),
      ),
    ];
    const { requests, texts } = watched({ ...quick, models: { a: { minSuccessRate: 0.9 } } }, {}, kept);
    requests(1, { firstTokenMs: 2_000 });
    expect(await texts()).toEqual([expect.stringContaining("first token after 2.0 s (p95 of 11 requests)")]);
  });
});
