import fc from "fast-check";
import { expect, test } from "vitest";
import type { LiveModel } from "../../src/orchestrator/api/facade-metrics.ts";
import { activityOf, segmentsOf } from "../../src/ui/format.ts";

const model = (bytes: number, rest: Partial<LiveModel> = {}): LiveModel => ({
  name: "m",
  engine: "ollama",
  bytes,
  state: "ready",
  isPinned: false,
  running: 0,
  clients: [],
  ...rest,
});
const memory = (rest: object) => ({
  totalBytes: 100,
  availableBytes: 50,
  otherBytes: 30,
  models: [model(20)],
  gpus: [],
  ...rest,
});
const bytesOf = (given: object) => segmentsOf(memory(given)).map(({ kind, bytes }) => [kind, bytes]);

test("the bar has each model, other programs and what is free, in proportion", () => {
  expect(segmentsOf(memory({}))).toEqual([
    { kind: "model", model: model(20), bytes: 20, share: 0.2 },
    { kind: "other", bytes: 30, share: 0.3 },
    { kind: "free", bytes: 50, share: 0.5 },
  ]);
});

test("file-mapped weights count as available, too: what is free gives way", () => {
  expect(bytesOf({ availableBytes: 70 })).toEqual([
    ["model", 20],
    ["other", 30],
    ["free", 50],
  ]);
});

test("what no measurement explains is held by others", () => {
  expect(bytesOf({ availableBytes: 40 })).toEqual([
    ["model", 20],
    ["other", 40],
    ["free", 40],
  ]);
});

test("bytes on cards, and models of other machines, are not in the RAM", () => {
  const models = [model(20, { vramBytes: 15 }), model(60, { isElsewhere: true })];
  expect(bytesOf({ models, availableBytes: 65 })).toEqual([
    ["model", 5],
    ["other", 30],
    ["free", 65],
  ]);
});

test("the largest model is first", () => {
  const models = [model(5, { name: "small" }), model(15, { name: "large" })];
  const names = segmentsOf(memory({ models })).flatMap((each) => (each.kind === "model" ? each.model.name : []));
  expect(names).toEqual(["large", "small"]);
});

test("whatever is measured, no share is negative and all of them together are the bar", () => {
  const amount = fc.nat(1_000);
  fc.assert(
    fc.property(amount, amount, amount, fc.array(amount), (totalBytes, availableBytes, otherBytes, sizes) => {
      const models = sizes.map((bytes) => model(bytes));
      const segments = segmentsOf(memory({ totalBytes, availableBytes, otherBytes, models }));
      const sum = segments.reduce((all, { share }) => all + share, 0);
      expect(segments.every(({ share, bytes }) => share >= 0 && bytes >= 0)).toBe(true);
      expect(sum).toBeCloseTo(totalBytes + otherBytes + sizes.reduce((all, size) => all + size, 0) === 0 ? 0 : 1);
    }),
  );
});

test.each([
  [{}, "idle"],
  [{ running: 2 }, "2 running"],
  [{ running: 1, clients: ["claude-code", "cursor"] }, "1 running, used by claude-code, cursor"],
  [{ state: "loading" as const }, "loading"],
  [{ state: "evicting" as const }, "unloading"],
  [{ state: "stuck" as const, running: 1 }, "gives no tokens"],
])("%j is %s", (state, text) => {
  expect(activityOf(model(1, state))).toBe(text);
});
