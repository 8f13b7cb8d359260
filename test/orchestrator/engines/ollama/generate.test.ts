import { describe, expect, it } from "vitest";
import {
  EngineUnreachable,
  GenerationFailed,
  LoadFailed,
  PromptTooLong,
  QueueFull,
  UnsupportedCapability,
} from "../../../../src/orchestrator/api/errors.ts";
import { advice } from "../../../../src/orchestrator/api/next-step.ts";
import { sampleModels, startFakeOllama, vendorErrors, type Misbehaviour } from "../../../support/fake-ollama.ts";
import { chatRequest, createRecorder, engineAt, never, rejection, startPair } from "./fixture.ts";

describe("a generation with Ollama", () => {
  it("sends all options in one request and disables truncation", async () => {
    const { fake, engine } = await startPair();
    await engine.generate(
      chatRequest({
        sampling: { temperature: 0.2, topP: 0.9, topK: 40, seed: 7, stop: ["END"] },
        keepAliveSeconds: 900,
        maxTokens: 12,
      }),
      createRecorder(),
      never,
    );
    expect(fake.requests.map(({ method, path }) => `${method} ${path}`)).toEqual(["POST /api/chat"]);
    expect(fake.requests[0]?.body).toEqual({
      model: "smollm2:135m",
      messages: [{ role: "user", content: "Name three colours." }],
      stream: true,
      truncate: false,
      shift: false,
      keep_alive: 900,
      options: { num_ctx: 2_048, num_predict: 12, temperature: 0.2, top_p: 0.9, top_k: 40, seed: 7, stop: ["END"] },
    });
  });

  it("omits options without a value", async () => {
    const { fake, engine } = await startPair();
    await engine.generate(chatRequest(), createRecorder(), never);
    expect(fake.requests[0]?.body).not.toHaveProperty("think");
    expect(fake.requests[0]?.body).not.toHaveProperty("format");
    expect(fake.requests[0]?.body).not.toHaveProperty("keep_alive");
    expect(fake.requests[0]?.body["options"]).toEqual({ num_ctx: 2_048, num_predict: 64 });
  });

  it("separates thinking from text and can disable it", async () => {
    const { engine } = await startPair({ models: sampleModels });
    const recorder = createRecorder();
    const thought = await engine.generate(chatRequest({ model: "qwen3:0.6b", think: true }), recorder, never);
    expect(thought.thinking).toBe("The user asks about colours.");
    expect(recorder.heard.thinking.join("")).toBe(thought.thinking);
    expect(thought.text).toBe("Red, green and blue are three colours of the rainbow.");
    expect(recorder.heard.phases).toEqual(["prefill", "decode"]);
    const plain = await engine.generate(chatRequest({ model: "qwen3:0.6b", think: false }), createRecorder(), never);
    expect(plain).not.toHaveProperty("thinking");
  });

  it("sends images unchanged, even if a file has that name", async () => {
    const { fake, engine } = await startPair({ models: sampleModels });
    const messages = [{ role: "user", content: "What is it?", images: ["package.json"] }] as const;
    await engine.generate(chatRequest({ model: "gemma3:4b", messages }), createRecorder(), never);
    expect(fake.requests[0]?.body["messages"]).toEqual(messages);
  });

  it("returns Ollama's counts, and its times in milliseconds", async () => {
    const { engine } = await startPair({ loadDelayMs: 300, tokensPerSecond: 1_000 });
    const cold = await engine.generate(chatRequest(), createRecorder(), never);
    expect(cold.completionTokens).toBe(10);
    expect(cold.promptTokens).toBe(8);
    expect(cold.loadMs).toBeGreaterThanOrEqual(290);
    expect(cold.firstTokenMs).toBeGreaterThanOrEqual(290);
    expect(cold.decodeMs).toBeGreaterThan(5);
    expect(cold.totalMs).toBeGreaterThanOrEqual(cold.firstTokenMs);
    const warm = await engine.generate(chatRequest(), createRecorder(), never);
    // Without the load. A busy machine takes longer for both.
    expect(warm.loadMs).toBeLessThan(cold.loadMs / 2);
  });

  it("reuses connections for consecutive generations", async () => {
    const { fake, engine } = await startPair();
    for (let round = 0; round < 6; round += 1) await engine.generate(chatRequest(), createRecorder(), never);
    // Two, because a connection is free only some time after its last byte.
    expect(engine.connections().generation.open).toBeLessThanOrEqual(2);
    expect(engine.connections().generation).toMatchObject({ running: 0, queued: 0 });
    expect(fake.requests.every((request) => request.wasCutByClient === false)).toBe(true);
  });

  it.each<[string, Misbehaviour, typeof EngineUnreachable, string]>([
    ["a reset before the answer", { kind: "drop" }, EngineUnreachable, "closed the connection"],
    ["a cut in mid-stream", { kind: "cut", afterLines: 3 }, EngineUnreachable, "closed the connection"],
    ["a line that isn't JSON", { kind: "garbage", afterLines: 2 }, GenerationFailed, "invalid reply"],
    ["a stall", { kind: "hang", afterLines: 0 }, EngineUnreachable, "sent nothing for 0.785 s"],
    ["a stall in mid-stream", { kind: "hang", afterLines: 2 }, EngineUnreachable, "sent nothing for 0.5 s"],
    [
      "an error line in a 200 stream",
      { kind: "error_line", error: vendorErrors.runnerStopped },
      LoadFailed,
      "unexpectedly stopped",
    ],
    ["a full queue", { kind: "status", status: 503, error: vendorErrors.queueFull }, QueueFull, "server busy"],
    ["an error without a special meaning", { kind: "status", status: 500, error: "boom" }, GenerationFailed, "boom"],
  ])("%s is an error, and the next request succeeds", async (_, misbehaviour, expected, words) => {
    // A short timeout only for hanging servers: the others may be slow on a busy machine. Before the first line 15 ms more a character of the prompt.
    const { fake, engine } = await startPair({}, misbehaviour.kind === "hang" ? { stallMs: 500 } : {});
    fake.misbehave(misbehaviour);
    const error = await rejection(engine.generate(chatRequest(), createRecorder(), never));
    expect(error).toBeInstanceOf(expected);
    expect(error.message).toContain(words);
    expect(error.next).not.toEqual([]);
    expect((await engine.generate(chatRequest(), createRecorder(), never)).text).not.toBe("");
  });

  it("waits for a load that is shorter than the stall timeout", async () => {
    const { engine } = await startPair({ loadDelayMs: 400 }, { stallMs: 2_000, controlMs: 100 });
    expect((await engine.generate(chatRequest(), createRecorder(), never)).text).not.toBe("");
  });

  it("does not limit the total time of a slow stream, only the time between bytes", async () => {
    const { fake, engine } = await startPair({}, { stallMs: 1_000 });
    fake.misbehave({ kind: "slow", delayMs: 150 });
    const { totalMs } = await engine.generate(chatRequest(), createRecorder(), never);
    expect(totalMs).toBeGreaterThan(1_000);
  });

  it.each([
    ["thinking", { think: true }, "does not support thinking"],
    ["images", { messages: [{ role: "user", content: "?", images: ["aGk="] }] }, "does not support multimodal"],
  ] as const)("%s for a model without it throws UnsupportedCapability", async (_, request, words) => {
    const { engine } = await startPair();
    const error = await rejection(engine.generate(chatRequest(request), createRecorder(), never));
    expect(error).toBeInstanceOf(UnsupportedCapability);
    expect(error.message).toContain(words);
  });

  it("out of memory during a load throws LoadFailed with next steps", async () => {
    const { engine } = await startPair({ models: [{ name: "huge:70b", loadError: vendorErrors.outOfMemory }] });
    const error = await rejection(engine.generate(chatRequest({ model: "huge:70b" }), createRecorder(), never));
    expect(error).toBeInstanceOf(LoadFailed);
    expect(error.next).toContainEqual({ step: "unloadModel" });
  });

  it("a prompt that is too long yields no text", async () => {
    const { engine } = await startPair();
    const messages = [{ role: "user", content: "word ".repeat(3_000) }] as const;
    const recorder = createRecorder();
    const error = await rejection(engine.generate(chatRequest({ messages }), recorder, never));
    expect(error).toBeInstanceOf(PromptTooLong);
    expect(error).toMatchObject({ promptTokens: 3_006, contextTokens: 2_048 });
    expect(recorder.heard.text).toEqual([]);
  });

  it("an address without a server throws EngineUnreachable with a step that starts Ollama", async () => {
    const fake = await startFakeOllama();
    await fake.close();
    const engine = engineAt(fake.url);
    const error = await rejection(engine.generate(chatRequest(), createRecorder(), never));
    expect(error).toBeInstanceOf(EngineUnreachable);
    expect(error.message).toContain("ECONNREFUSED");
    expect(error.next?.[0]).toEqual(advice("start it (`ollama serve`)"));
  });

  it("prints nothing on stdout for any error", async () => {
    const { fake, engine } = await startPair();
    const written: unknown[] = [];
    const write = process.stdout.write;
    process.stdout.write = (chunk: unknown) => written.push(chunk) > 0;
    try {
      for (const kind of ["status", "garbage", "cut"] as const) {
        fake.misbehave({ kind, status: 500, error: "boom" });
        await rejection(engine.generate(chatRequest(), createRecorder(), never));
      }
    } finally {
      process.stdout.write = write;
    }
    expect(written).toEqual([]);
  });
});
