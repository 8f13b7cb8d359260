import { describe, expect, it } from "vitest";
import { Cancelled, PromptTooLong, QueueFull } from "../../../src/orchestrator/api/errors.ts";
import { startListeners } from "../http/listener-fixture.ts";
import { door, question, signalled, weather } from "./ollama-door.ts";

const start = startListeners();
const open = (answer?: Parameters<typeof door>[1]) => door(start, answer);

describe("failures at Ollama's API", () => {
  it("ends a pull whose program went away", async () => {
    const gone = signalled();
    const { engine, client } = await open();
    Object.assign(engine.library ?? {}, {
      pull: (_name: string, _report: unknown, signal: AbortSignal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener("abort", () => {
            gone.resolve();
            reject(new Cancelled("the pull was cancelled"));
          });
        }),
    });
    const stream = await client.pull({ model: "new:1b", stream: true });
    for await (const { status } of stream) {
      expect(status).toBe("pulling manifest");
      break;
    }
    stream.abort();
    await gone.promise;
  });

  it("answers errors in Ollama's shape", async () => {
    const { listener, client } = await open(async ({ model }) => {
      if (model === "plain:latest") throw new QueueFull("too many requests wait");
      throw new PromptTooLong("the prompt has 9000 tokens; the window has 4096", {
        promptTokens: 9_000,
        contextTokens: 4_096,
      });
    });
    await expect(client.chat({ model: "small:1b", messages: question })).rejects.toMatchObject({
      status_code: 400,
      message: expect.stringMatching(/4096/),
    });
    await expect(client.chat({ model: "nope", messages: question })).rejects.toMatchObject({
      status_code: 404,
      message: expect.stringMatching(/not found/),
    });
    // As programs recognise it: they ask again without.
    await expect(client.chat({ model: "plain", messages: question, tools: [weather] })).rejects.toMatchObject({
      status_code: 400,
      message: expect.stringMatching(/"plain" does not support tools/),
    });
    const bad: readonly [target: string, body: unknown, status: number][] = [
      ["/api/chat", {}, 400],
      ["/api/chat", { model: "" }, 400],
      ["/api/chat", { model: "small:1b", messages: "x" }, 400],
      ["/api/chat", { model: "small:1b", messages: [{ role: "wizard", content: "x" }] }, 400],
      ["/api/chat", { model: "small:1b", messages: question, options: { temperature: "hot" } }, 400],
      ["/api/generate", { model: "small:1b", prompt: "x", keep_alive: "10" }, 400],
      ["/api/generate", [], 400],
      ["/api/create", { model: "x" }, 404],
      ["/api/copy", { source: "x", destination: "y" }, 404],
      ["/api/nope", {}, 404],
    ];
    for (const [target, body, status] of bad) {
      const answer = await listener.ask(target, { body });
      expect([target, answer.status]).toEqual([target, status]);
      expect(JSON.parse(answer.text)).toEqual({ error: expect.any(String) });
    }
    expect((await listener.ask("/api/delete", { method: "DELETE", body: { model: "x" } })).status).toBe(404);
    expect((await listener.ask("/api/chat", { raw: '{"model":' })).status).toBe(400);
    const without = await listener.ask("/api/tags", { headers: { authorization: undefined } });
    expect([without.status, JSON.parse(without.text)]).toEqual([401, { error: expect.any(String) }]);
    expect((await listener.ask("/api/tags", { headers: { origin: "http://evil.example" } })).status).toBe(403);
    expect((await listener.ask("/api/tags", { headers: { host: "evil.example" } })).status).toBe(403);
  });

  it("tells a failure after the stream began as its last line", async () => {
    const { client } = await open(async (_request, sink) => {
      sink.text("Hel");
      await new Promise((resolve) => setImmediate(resolve));
      throw new QueueFull("the server is busy");
    });
    let text = "";
    const read = async () => {
      for await (const { message } of await client.chat({ model: "small:1b", messages: question, stream: true }))
        text += message.content;
    };
    await expect(read()).rejects.toThrow(/busy|failed/);
  });

  it("stops the answer when the program cancels or its connection breaks", async () => {
    const ended: string[] = [];
    const begun = [signalled(), signalled()];
    const over = [signalled(), signalled()];
    let at = -1;
    const { client, listener } = await open((_request, sink, signal) => {
      const mine = (at += 1);
      sink.text("Hello");
      begun[mine]?.resolve();
      return new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          ended.push("aborted");
          over[mine]?.resolve();
          reject(new Cancelled("cancelled"));
        });
      });
    });
    const stream = await client.chat({ model: "small:1b", messages: question, stream: true });
    for await (const { message } of stream) {
      expect(message.content).toBe("Hello");
      break;
    }
    stream.abort();
    await over[0]?.promise;
    const abort = new AbortController();
    const { port, token } = listener;
    const whole = fetch(`http://127.0.0.1:${port}/api/chat`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify({ model: "small:1b", messages: question, stream: false }),
      signal: abort.signal,
    });
    await begun[1]?.promise;
    abort.abort();
    await expect(whole).rejects.toThrow();
    await over[1]?.promise;
    expect(ended).toEqual(["aborted", "aborted"]);
  });

  it("serves 64 streams at once, none with the text of another", async () => {
    const { client } = await open(async ({ messages }, sink) => {
      const text = `answer to ${String(messages.at(-1)?.content)}`;
      for (const character of text) {
        sink.text(character);
        await new Promise((resolve) => setImmediate(resolve));
      }
      return { text };
    });
    const answers = await Promise.all(
      Array.from({ length: 64 }, async (_each, index) => {
        let text = "";
        const messages = [{ role: "user", content: `question ${index}` }];
        for await (const { message } of await client.chat({ model: "small:1b", messages, stream: true }))
          text += message.content;
        return text;
      }),
    );
    expect(answers).toEqual(answers.map((_text, index) => `answer to question ${index}`));
  });
});
