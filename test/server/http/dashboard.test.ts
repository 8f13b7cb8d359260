import { describe, expect, it } from "vitest";
import type { LiveState } from "../../../src/orchestrator/api/facade-metrics.ts";
import { createFakeOrchestrator } from "../../support/fake-orchestrator.ts";
import { OneTimeCodes } from "../../../src/server/http/dashboard.ts";
import { startListeners } from "./listener-fixture.ts";

const start = startListeners();
const none = { authorization: undefined };

describe("a one-time code", () => {
  it("is accepted once", () => {
    const codes = new OneTimeCodes(() => 0);
    const code = codes.make();
    expect([codes.redeem(code), codes.redeem(code)]).toEqual(["right", "wrong"]);
  });

  it("ends after five minutes", () => {
    let now = 0;
    const codes = new OneTimeCodes(() => now);
    const [early, late] = [codes.make(), codes.make()];
    now = 5 * 60_000 - 1;
    expect(codes.redeem(early)).toBe("right");
    now += 1;
    expect(codes.redeem(late)).toBe("wrong");
  });

  it("is one of at most eight: the oldest ends", () => {
    const codes = new OneTimeCodes(() => 0);
    const made = Array.from({ length: 9 }, () => codes.make());
    expect(made.map((code) => codes.redeem(code))).toEqual(["wrong", ...Array.from({ length: 8 }, () => "right")]);
  });

  it("can't be guessed: after twenty wrong ones nothing is accepted for a minute", () => {
    let now = 0;
    const codes = new OneTimeCodes(() => now);
    const code = codes.make();
    for (let count = 0; count < 20; count++) expect(codes.redeem(`${count}`)).toBe("wrong");
    expect(codes.redeem(code)).toBe("exhausted");
    now = 60_000;
    expect(codes.redeem(code)).toBe("right");
  });
});

const state: LiveState = {
  at: "2026-11-23T05:30:00.000Z",
  memory: { totalBytes: 8, availableBytes: 6, models: [], otherBytes: 2, gpus: [] },
  operations: [],
  queue: [],
  today: { requests: 0, tokens: 0, saved: 0, currency: "USD" },
  warnings: [],
};

describe("the dashboard's routes", () => {
  it("serve the page without a token: it has no data, and no other page may frame it", async () => {
    const listener = await start();
    const { status, headers, text } = await listener.ask("/dashboard", { headers: none });
    expect([status, headers["content-type"]]).toEqual([200, "text/html; charset=utf-8"]);
    expect(headers).toMatchObject({
      "content-security-policy": "frame-ancestors 'none'",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cache-control": "no-store",
    });
    expect(text).toContain("<!doctype html>");
  });

  it("refuse a wrong code, and a session's token opens neither health nor old streams", async () => {
    const listener = await start({ orchestrator: createFakeOrchestrator() });
    expect((await listener.ask("/dashboard/session", { headers: none, body: { code: "x" } })).status).toBe(403);
    for (const path of ["/dashboard/events", "/mcp"]) {
      expect((await listener.ask(path, { headers: none })).status, path).toBe(401);
    }
  });
});
