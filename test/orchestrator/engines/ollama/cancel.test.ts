import { expect, it } from "vitest";
import { Cancelled } from "../../../../src/orchestrator/api/errors.ts";
import type { FakeOllama } from "../../../support/fake-ollama.ts";
import { chatRequest, createRecorder, never, rejection, startPair } from "./fixture.ts";

const long = chatRequest({ messages: [{ role: "user", content: "Write a long story." }], maxTokens: 5_000 });

/** Milliseconds from the abort until the server sees the connection close. */
async function closeAfter(fake: FakeOllama, path: string, abort: () => void): Promise<number> {
  const request = await fake.request(path);
  const abortedAt = performance.now();
  abort();
  await request.closed;
  expect(request.wasCutByClient).toBe(true);
  return (request.closedAt ?? Infinity) - abortedAt;
}

it("cancelling closes the connection at once: while decoding, while loading, before the first byte", async () => {
  const { fake, engine } = await startPair({ tokensPerSecond: 100 });
  const measured: Record<string, number> = {};

  for (const moment of ["decoding", "loading", "silent"] as const) {
    fake.reset();
    fake.residents.clear();
    if (moment === "silent") fake.misbehave({ kind: "hang", afterLines: 0 });
    const controller = new AbortController();
    const outcome = rejection(engine.generate(long, createRecorder(), controller.signal));
    measured[moment] = await closeAfter(fake, "/api/chat", () => controller.abort());
    expect(await outcome).toBeInstanceOf(Cancelled);
  }

  const shown = Object.entries(measured).map(([moment, ms]) => `${moment} ${ms.toFixed(1)}`);
  process.stderr.write(`ms from a cancel to the closed connection: ${shown.join(", ")}\n`);
  // 20 ms on an idle machine; this limit only has to detect a connection that stays open.
  for (const ms of Object.values(measured)) expect(ms).toBeLessThan(5_000);
});

it("cancelling ends only its own request", async () => {
  const { fake, engine } = await startPair({
    models: [{ name: "smollm2:135m" }, { name: "other:1b" }],
    tokensPerSecond: 200,
  });
  const controller = new AbortController();
  const cancelled = rejection(engine.generate(long, createRecorder(), controller.signal));
  const other = engine.generate(chatRequest({ model: "other:1b" }), createRecorder(), never);
  await fake.request("/api/chat");
  controller.abort();
  expect(await cancelled).toBeInstanceOf(Cancelled);
  expect((await other).finishReason).toBe("stop");
});

it("an aborted signal sends no request", async () => {
  const { fake, engine } = await startPair();
  const aborted = AbortSignal.abort();
  const { library, residency, embedding } = engine;
  const calls: readonly (() => Promise<unknown> | undefined)[] = [
    () => engine.generate(chatRequest(), createRecorder(), aborted),
    () => engine.list(aborted),
    () => engine.describe("smollm2:135m", aborted),
    () => library?.pull("x", () => {}, aborted),
    () => library?.import("/x.gguf", "x", () => {}, aborted),
    () => library?.remove("x", aborted),
    () => residency?.loaded(aborted),
    () => residency?.load("x", { contextTokens: 512 }, () => {}, aborted),
    () => residency?.unload("x", aborted),
    () => embedding?.embed("x", ["x"], aborted),
  ];
  for (const call of calls) expect(await rejection(Promise.resolve().then(call))).toBeInstanceOf(Cancelled);
  expect(fake.requests).toEqual([]);
});

it("cancelling in the turn of the call sends no request", async () => {
  const { fake, engine } = await startPair();
  for (const call of [
    (signal: AbortSignal) => engine.generate(long, createRecorder(), signal),
    (signal: AbortSignal) => engine.library?.pull("x", () => {}, signal),
  ]) {
    const controller = new AbortController();
    const outcome = rejection(Promise.resolve(call(controller.signal)));
    controller.abort();
    expect(await outcome).toBeInstanceOf(Cancelled);
  }
  expect(fake.requests.filter(({ path }) => path === "/api/chat" || path === "/api/pull")).toEqual([]);
});

it("cancelling a load, a pull or an embedding closes its connection", async () => {
  const { fake, engine } = await startPair({
    models: [{ name: "smollm2:135m" }, { name: "all-minilm:latest", capabilities: ["embedding"] }],
    registry: [{ name: "qwen3:0.6b" }],
    loadDelayMs: 10_000,
    pullBytesPerSecond: 1_000,
  });
  const cases = [
    [
      "/api/generate",
      (signal: AbortSignal) => engine.residency?.load("smollm2:135m", { contextTokens: 512 }, () => {}, signal),
    ],
    ["/api/pull", (signal: AbortSignal) => engine.library?.pull("qwen3:0.6b", () => {}, signal)],
    ["/api/embed", (signal: AbortSignal) => engine.embedding?.embed("all-minilm", ["x"], signal)],
  ] as const;
  for (const [path, call] of cases) {
    const controller = new AbortController();
    const outcome = rejection(Promise.resolve(call(controller.signal)));
    expect(await closeAfter(fake, path, () => controller.abort())).toBeLessThan(5_000);
    expect(await outcome).toBeInstanceOf(Cancelled);
  }
});
