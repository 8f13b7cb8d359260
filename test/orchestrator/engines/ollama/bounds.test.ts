import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline, Readable } from "node:stream";
import { describe, expect, it, onTestFinished } from "vitest";
import type { Engine } from "../../../../src/orchestrator/engines/engine.ts";
import {
  GenerationFailed,
  LoadFailed,
  OrchestratorError,
  PullFailed,
} from "../../../../src/orchestrator/api/errors.ts";
import { chatRequest, createRecorder, engineAt, never, rejection } from "./fixture.ts";

interface Flood {
  readonly engine: Engine;
  /** Bytes written to the last reply. */
  sentBytes(): number;
  /** Resolves when the client has closed the last reply. */
  readonly closed: Promise<unknown>;
}

const megabyte = 1_000_000;

/**
 * A server that replies with `head` and then with `piece` until the client closes the connection, and with `others` to
 * requests for paths other than `only`.
 */
async function flood(
  piece: string | ((index: number) => string),
  {
    type = "application/json",
    status = 200,
    head = "",
    only = "",
    others = '{"models":[]}',
    othersType = "application/json",
  } = {},
): Promise<Flood> {
  let sent = 0;
  function* pieces(): Generator<string> {
    yield head;
    for (let index = 0; ; index += 100) {
      const text = Array.from({ length: 100 }, (_, more) => (typeof piece === "string" ? piece : piece(index + more)));
      sent += text.join("").length;
      yield text.join("");
    }
  }
  let close: (value: unknown) => void;
  const closed = new Promise((resolve) => (close = resolve));
  const pour = (response: ServerResponse): void => {
    response.writeHead(status, { "content-type": type });
    pipeline(Readable.from(pieces()), response, close);
  };
  const server = createServer((request, response) => {
    request.resume();
    if (only === "" || request.url === only) pour(response);
    else response.writeHead(200, { "content-type": othersType }).end(others);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { engine: engineAt(`127.0.0.1:${port}`), sentBytes: () => sent, closed };
}

const line = (value: unknown): string => `${JSON.stringify(value)}\n`;
const chatLine = (content: string): string =>
  line({ model: "a", message: { role: "assistant", content }, done: false });
const ndjson = { type: "application/x-ndjson" };
const ask = (engine: Engine, maxTokens = 64) => engine.generate(chatRequest({ maxTokens }), createRecorder(), never);

describe("an endless reply of Ollama fails, and its connection is closed", () => {
  it.each<[string, () => Promise<Flood>, (engine: Engine) => Promise<unknown> | undefined, number]>([
    ["an answer: lines of text", () => flood(chatLine("word ".repeat(20)), ndjson), ask, 2],
    ["an answer: lines without text", () => flood(chatLine(""), ndjson), ask, 2],
    ["an answer: one line", () => flood("x".repeat(1_000), { ...ndjson, head: '{"message":{"content":"' }), ask, 2],
    ["an answer that isn't a stream", () => flood(" ".repeat(1_000)), ask, 2],
    ["the list of models", () => flood(" ".repeat(1_000)), (engine) => engine.list(never), 5],
    [
      "a description",
      () => flood(" ".repeat(1_000), { only: "/api/show" }),
      (engine) => engine.describe("a", never),
      5,
    ],
    ["what is loaded", () => flood(" ".repeat(1_000)), (engine) => engine.residency?.loaded(never), 5],
    [
      "a load",
      () => flood(" ".repeat(1_000), { only: "/api/generate" }),
      (engine) => engine.residency?.load("a", { contextTokens: 2_048 }, () => undefined, never),
      5,
    ],
    [
      "a pull: one line",
      () => flood("x".repeat(1_000), { ...ndjson, head: '{"status":"', only: "/api/pull" }),
      (engine) => engine.library?.pull("a", () => undefined, never),
      2,
    ],
    [
      "a pull: more and more layers",
      () =>
        flood((index) => line({ status: "pulling", digest: `sha256:${index}`, total: 9 }), {
          ...ndjson,
          only: "/api/pull",
        }),
      (engine) => engine.library?.pull("a", () => undefined, never),
      2,
    ],
    [
      "a creation: lines",
      () => flood(line({ status: "working" }), { ...ndjson, only: "/api/create" }),
      (engine) =>
        engine.library?.creation?.create({ name: "b:latest", base: "a", parameters: {} }, () => undefined, never),
      5,
    ],
  ])("%s", async (_name, start, call, megabytes) => {
    const server = await start();
    const error = await rejection(Promise.resolve(call(server.engine)));
    await server.closed;
    expect([GenerationFailed, LoadFailed, OrchestratorError, PullFailed]).toContain(error.constructor);
    expect(error.message).toMatch(/sent more than \d+\.\d [kM]B (?:in one line )?while|more than 1000 layers/);
    expect(error.next).not.toEqual([]);
    // Includes bytes in the buffers of the sockets.
    expect(server.sentBytes()).toBeLessThan((megabytes + 8) * megabyte);
  });

  it("an embedding: the limit grows with the number of texts", async () => {
    const known = line({ capabilities: ["embedding"], models: [{ name: "a:latest" }] });
    const embed = async (texts: readonly string[]) => {
      const server = await flood("0.123,", { only: "/api/embed", head: '{"embeddings":[[', others: known });
      const error = await rejection(Promise.resolve(server.engine.embedding?.embed("a", texts, never)));
      await server.closed;
      return error.message;
    };
    expect(await embed(["one"])).toContain("sent more than 500.0 kB while embedding with a");
    expect(await embed(["one", "two", "three"])).toContain("sent more than 1.3 MB while embedding with a");
  });

  it("a health check reports the server as unreachable", async () => {
    const server = await flood(" ".repeat(1_000));
    const health = await server.engine.health(never);
    await server.closed;
    expect(health.isReachable).toBe(false);
    expect(health.message).toContain("sent more than 4.0 MB while checking its health");
  });

  it("an answer: the limit depends on the maximum number of tokens", async () => {
    const lines = () => flood(chatLine("word"), ndjson);
    const [few, many] = [await lines(), await lines()];
    expect((await rejection(ask(few.engine, 10))).message).toContain("sent more than 1.0 MB while");
    expect((await rejection(ask(many.engine, 4_000))).message).toContain("sent more than 5.0 MB while");
  });
});

it("a list of models with a nesting depth of a million is rejected", async () => {
  const { engine } = await flood("", { only: "/other", others: `{"models":${"[".repeat(1_000_000)}` });
  const error = await rejection(engine.list(never));
  expect(error).toBeInstanceOf(OrchestratorError);
  expect(String(error.cause)).toContain("it nests deeper than 128 levels");
});

describe("only the start of an error of Ollama is read", () => {
  it.each([
    ["as an error text", { status: 500, head: '{"error":"' }, GenerationFailed],
    ["as a page", { status: 502, head: "<html>" }, undefined],
  ])("%s of any length", async (_name, how, expected) => {
    const server = await flood("e".repeat(1_000), how);
    const error = await rejection(ask(server.engine));
    await server.closed;
    if (expected !== undefined) expect(error).toBeInstanceOf(expected);
    expect(error.message.length).toBeLessThan(700);
    expect(String(error.cause).length).toBeLessThan(3_000);
    expect(server.sentBytes()).toBeLessThan(8 * megabyte);
  });

  it("as the last line of a stream, of 900 kB", async () => {
    const server = await flood("\n", { ...ndjson, head: line({ error: "e".repeat(900_000) }) });
    const error = await rejection(ask(server.engine));
    expect(error).toBeInstanceOf(GenerationFailed);
    expect(error.message).toMatch(/^Ollama failed while answering with smollm2:135m: e{500}…$/);
  });
});

it("names and versions of more than 500 characters are ignored", async () => {
  const long = "n".repeat(501);
  const server = createServer((request, response) => {
    const reply = request.url === "/api/version" ? { version: long } : { models: [{ name: long }, { name: "a:b" }] };
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(reply));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const engine = engineAt(`127.0.0.1:${(server.address() as AddressInfo).port}`);
  expect((await engine.list(never)).map(({ name }) => name)).toEqual(["a:b"]);
  expect((await engine.health(never)).isReachable).toBe(false);
});

describe("a reply with the wrong content type", () => {
  const done = { message: { role: "assistant", content: "" }, done: true, done_reason: "stop" };

  it("is read as JSON where JSON was requested", async () => {
    const models = [{ name: "a", model: "a", size: 1, size_vram: 0, context_length: 2_048 }];
    const others = line({ ...done, models });
    const { engine } = await flood("", { only: "/none", others, othersType: ndjson.type });
    await engine.residency?.load("a", { contextTokens: 2_048 }, () => undefined, never);
    expect(await engine.residency?.loaded(never)).toMatchObject([{ name: "a", sizeBytes: 1 }]);
  });

  it("is read as a stream where a stream was requested", async () => {
    const { engine } = await flood("", {
      only: "/none",
      others: `${chatLine("word")}${line({ model: "a", ...done })}`,
    });
    await expect(ask(engine)).resolves.toMatchObject({ text: "word" });
  });
});
