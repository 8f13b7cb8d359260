import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Daemon, watchBusiness } from "../../../src/server/daemon/daemon.ts";

const handoverDrainMs = 60_000;

const handoverPatienceMs = 10 * 60_000;

type Business = ReturnType<Daemon["business"]>;
type Watch = ReturnType<typeof watchBusiness>;

const nothing: Business = { clients: 0, listeners: 0, requests: 0, operations: 0, pulls: 0, pinned: 0 };
let business: Business;
let told: string[];
let sleptMs: number;
let watch: Watch;

beforeEach(() => {
  vi.useFakeTimers();
  business = nothing;
  told = [];
  sleptMs = 0;
});
afterEach(() => {
  watch.stop();
  vi.useRealTimers();
});

function start(idleTimeoutSeconds: number): void {
  watch = watchBusiness({
    business: () => business,
    idleTimeoutSeconds: () => idleTimeoutSeconds,
    now: Date.now,
    wallNow: () => Date.now() + sleptMs,
    onIdle: () => told.push("idle"),
    onWake: (gapMs) => told.push(`wake ${Math.round(gapMs / 1_000)}`),
    onDrain: () => told.push("drain"),
    onHandover: () => told.push("handover"),
  });
}

describe("watchBusiness", () => {
  it("reports idleness after a whole idle time without work, restarted by each client", () => {
    start(60);
    vi.advanceTimersByTime(50_000);
    business = { ...nothing, clients: 1 };
    vi.advanceTimersByTime(2_000);
    business = nothing;
    vi.advanceTimersByTime(58_000);
    expect(told).toEqual([]);
    vi.advanceTimersByTime(4_000);
    expect(told).toContain("idle");
  });

  it.each(["clients", "listeners", "operations", "pinned"] as const)("a daemon with %s is not idle", (what) => {
    start(60);
    business = { ...nothing, [what]: 1 };
    vi.advanceTimersByTime(3_600_000);
    expect(told).toEqual([]);
  });

  it("never tells with a negative idle time", () => {
    start(-1);
    vi.advanceTimersByTime(24 * 3_600_000);
    expect(told).toEqual([]);
  });

  it("reports sleep, and restarts the idle time", () => {
    start(60);
    vi.advanceTimersByTime(58_000);
    sleptMs = 3_600_000;
    vi.advanceTimersByTime(10_000);
    expect(told).toEqual(["wake 3605"]);
    vi.advanceTimersByTime(62_000);
    expect(told).toContain("idle");
  });

  it("takes a busy machine, whose timers are late, for no sleep", () => {
    start(-1);
    sleptMs = 7_000;
    vi.advanceTimersByTime(5_000);
    expect(told).toEqual([]);
    sleptMs += 35_000;
    vi.advanceTimersByTime(5_000);
    expect(told).toEqual(["wake 40"]);
  });

  it.each([
    { what: "clients without requests", work: { clients: 3 }, elapsedMs: 0, said: ["handover"] },
    { what: "pulls alone", work: { operations: 2, pulls: 2 }, elapsedMs: 0, said: ["handover"] },
    { what: "a request", work: { requests: 1 }, elapsedMs: 0, said: [] },
    { what: "a generation that is a job", work: { operations: 1 }, elapsedMs: handoverPatienceMs - 100, said: [] },
    { what: "a request after ten minutes", work: { requests: 1 }, elapsedMs: handoverPatienceMs, said: ["drain"] },
  ])("hands over $said with $what", ({ work, elapsedMs, said }) => {
    start(-1);
    business = { ...nothing, ...work };
    watch.startHandover();
    vi.advanceTimersByTime(elapsedMs + 50);
    expect(told).toEqual(said);
  });

  it("hands over at the first moment without work", () => {
    start(-1);
    business = { ...nothing, clients: 2, requests: 1 };
    watch.startHandover();
    vi.advanceTimersByTime(5_000);
    expect(told).toEqual([]);
    business = { ...nothing, clients: 2 };
    vi.advanceTimersByTime(100);
    expect(told).toEqual(["handover"]);
  });

  it("reads no new requests after ten minutes of work, and cuts what runs a minute later", () => {
    start(-1);
    business = { ...nothing, clients: 1, requests: 1 };
    watch.startHandover();
    vi.advanceTimersByTime(handoverPatienceMs + 100);
    expect(told).toEqual(["drain"]);
    vi.advanceTimersByTime(handoverDrainMs);
    expect(told).toEqual(["drain", "handover"]);
  });
});
