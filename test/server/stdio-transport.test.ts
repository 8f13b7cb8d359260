import type { JSONRPCMessage } from "@modelcontextprotocol/server";
import fc from "fast-check";
import { PassThrough, Writable } from "node:stream";
import { describe, expect, it, vi } from "vitest";
import { StdioTransport } from "../../src/server/mcp/stdio-transport.ts";
import { eventually } from "../support/eventually.ts";

type StdioOptions = NonNullable<ConstructorParameters<typeof StdioTransport>[2]>;

function connect(options: StdioOptions = {}) {
  const input = new PassThrough();
  const written: string[] = [];
  const output = new Writable({
    write(chunk: Buffer, _encoding, done) {
      written.push(chunk.toString());
      done();
    },
  });
  const onEnd = vi.fn();
  const transport = new StdioTransport(input, output, { onEnd, ...options });
  const received: JSONRPCMessage[] = [];
  const errors: Error[] = [];
  Object.assign(transport, {
    onmessage: (message: JSONRPCMessage) => received.push(message),
    onerror: (error: Error) => errors.push(error),
  });
  void transport.start();
  return { input, output, transport, received, errors, written, onEnd };
}

const request = (id: number | string, params = {}) => ({ jsonrpc: "2.0" as const, id, method: "tools/call", params });
const line = (value: unknown) => `${JSON.stringify(value)}\n`;
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe("StdioTransport", () => {
  it("stops reading on request, even when a client that was behind catches up, and still sends answers", async () => {
    const input = new PassThrough();
    const taken: (() => void)[] = [];
    const output = new Writable({ write: (_chunk, _encoding, done) => void taken.push(done) });
    const transport = new StdioTransport(input, output, { limits: { behindBytes: 100, lostBytes: 100_000 } });
    const received: JSONRPCMessage[] = [];
    Object.assign(transport, { onmessage: (message: JSONRPCMessage) => received.push(message) });
    void transport.start();
    input.write(line(request(1)));
    await turn();
    await transport.send({ jsonrpc: "2.0", id: 1, result: { text: "x".repeat(200) } });
    transport.stopReading();
    taken.shift()?.();
    await turn();
    input.write(line(request(2)));
    await turn();
    expect(received).toEqual([request(1)]);
    expect(input.isPaused()).toBe(true);
    await transport.send({ jsonrpc: "2.0", id: 3, result: {} });
    expect(taken).toHaveLength(1);
  });

  it("reads messages however they are cut, also inside a character", async () => {
    const { input, received } = connect();
    const bytes = Buffer.from(line(request(1, { text: "grün" })) + line(request(2)));
    for (const byte of bytes) input.write(Buffer.from([byte]));
    await turn();
    expect(received).toEqual([request(1, { text: "grün" }), request(2)]);
  });

  it("takes Windows line ends and passes over empty lines", async () => {
    const { input, received, errors } = connect();
    input.write(`\r\n\n${JSON.stringify(request(1))}\r\n`);
    await turn();
    expect(received).toEqual([request(1)]);
    expect(errors).toEqual([]);
  });

  it.each(["garbage\n", '{"jsonrpc":"2.0","id":\n', "[]\n", "null\n", "\u0000\u0001\n", '{"id":1}\n'])(
    "continues after %j",
    async (text) => {
      const { input, received, errors, written } = connect();
      input.write(text);
      input.write(line(request(2)));
      await turn();
      expect(received).toEqual([request(2)]);
      expect(errors).toHaveLength(1);
      expect(written).toEqual([]);
    },
  );

  it("answers a request that is JSON but not JSON-RPC, so that its sender doesn't wait", async () => {
    const { input, written } = connect();
    input.write(line({ id: 7, method: "tools/list" }));
    await turn();
    expect(JSON.parse(written.join(""))).toMatchObject({ id: 7, error: { code: -32600 } });
  });

  it.each([
    ["first", (filler: string) => `{"jsonrpc":"2.0","id":9,"method":"x","params":{"a":"${filler}"}}\n`],
    ["last", (filler: string) => `{"method":"x","params":{"a":"${filler}"},"jsonrpc":"2.0","id":"nine"}\n`],
  ])("refuses a message over the limit by its id, written %s, and goes on", async (_where, text) => {
    const { input, received, written } = connect({ maxLineBytes: 1024 * 1024 });
    const message = Buffer.from(text("y".repeat(5 * 1024 * 1024)));
    for (let at = 0; at < message.length; at += 65_536) input.write(message.subarray(at, at + 65_536));
    input.write(line(request(10)));
    await eventually(() => expect(received).toEqual([request(10)]));
    expect(JSON.parse(written.join(""))).toMatchObject({
      id: expect.toBeOneOf([9, "nine"]),
      error: { code: -32600, message: expect.stringContaining("over the limit of 1 MiB; name files instead") },
    });
  });

  it("rejects a message that nests too deep by its id, unparsed, and continues", async () => {
    const { input, received, written } = connect();
    input.write(`{"jsonrpc":"2.0","id":9,"method":"x","params":${"[".repeat(3_800_000)}\n`);
    input.write(line(request(10)));
    await eventually(() => expect(received).toEqual([request(10)]));
    expect(JSON.parse(written.join(""))).toEqual({
      jsonrpc: "2.0",
      id: 9,
      error: { code: -32600, message: "message nests deeper than 128 levels" },
    });
  });

  it("takes a message just below the limit", async () => {
    const { input, received } = connect();
    const text = "y".repeat(4 * 1024 * 1024 - 200);
    input.write(line(request(1, { text })));
    await eventually(() => expect(received).toHaveLength(1));
  });

  it("ends when the client closes its end", async () => {
    const { input, onEnd } = connect();
    input.end();
    await eventually(() => expect(onEnd).toHaveBeenCalledOnce());
  });

  it("answers what is under way first, then ends at once", async () => {
    const { input, transport, written, onEnd } = connect({ drainMs: 60_000 });
    input.end(line(request(1)));
    await new Promise((resolve) => input.on("end", resolve));
    expect(onEnd).not.toHaveBeenCalled();
    await transport.send({ jsonrpc: "2.0", id: 1, result: {} });
    expect(written).toEqual([line({ jsonrpc: "2.0", id: 1, result: {} })]);
    await eventually(() => expect(onEnd).toHaveBeenCalledOnce());
  });

  it("waits for nothing that was cancelled, and for nothing longer than it may", async () => {
    const cancelled = connect({ drainMs: 60_000 });
    const notification = { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 1 } };
    cancelled.input.end(line(request(1)) + line(notification));
    await eventually(() => expect(cancelled.onEnd).toHaveBeenCalledOnce());

    const hanging = connect({ drainMs: 20 });
    hanging.input.end(line(request(1)));
    await eventually(() => expect(hanging.onEnd).toHaveBeenCalledOnce());
  });

  it("waits for every answer of a script, which pipes its requests in, when a client is waited for no longer", async () => {
    const options = { drainMs: 1, areScriptsAnswered: true };
    const [script, client] = [connect(options), connect(options)];
    script.input.write(line(request(1)) + line(request(2)));
    await eventually(() => expect(script.received).toHaveLength(2));
    await script.transport.send({ jsonrpc: "2.0", id: 1, result: {} });
    client.input.write(line(request(1)));
    await client.transport.send({ jsonrpc: "2.0", id: 1, result: {} });
    script.input.end();
    await new Promise((resolve) => script.input.on("end", resolve));
    client.input.end(line(request(2)));
    await eventually(() => expect(client.onEnd).toHaveBeenCalledOnce());
    expect(script.onEnd).not.toHaveBeenCalled();
    await script.transport.send({ jsonrpc: "2.0", id: 2, result: {} });
    expect(script.written.at(-1)).toBe(line({ jsonrpc: "2.0", id: 2, result: {} }));
    await eventually(() => expect(script.onEnd).toHaveBeenCalledOnce());
  });

  it("drops half a line at the end", async () => {
    const { input, received, onEnd } = connect();
    input.end('{"jsonrpc":"2.0","id":1,"meth');
    await eventually(() => expect(onEnd).toHaveBeenCalledOnce());
    expect(received).toEqual([]);
  });

  it("ends when its output is closed (EPIPE)", async () => {
    const { output, transport, onEnd } = connect();
    output.destroy(Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
    await eventually(() => expect(onEnd).toHaveBeenCalledOnce());
    await expect(transport.send({ jsonrpc: "2.0", id: 1, result: {} })).rejects.toThrow("closed");
  });

  it("refuses requests beyond 256 at once by their ids, and takes new ones when some are answered", async () => {
    const { input, transport, received, written } = connect();
    input.write(Array.from({ length: 258 }, (_unused, id) => line(request(id))).join(""));
    await turn();
    expect(received).toHaveLength(256);
    expect(written.map((text) => JSON.parse(text))).toMatchObject(
      [256, 257].map((id) => ({ id, error: { code: -32000 } })),
    );
    await transport.send({ jsonrpc: "2.0", id: 0, result: {} });
    input.write(line(request(258)));
    await turn();
    expect(received).toHaveLength(257);
  });

  it("does not wait for listen streams when the client closes its end", async () => {
    const { input, onEnd } = connect({ drainMs: 60_000 });
    input.end(line({ jsonrpc: "2.0", id: 1, method: "subscriptions/listen", params: {} }));
    await eventually(() => expect(onEnd).toHaveBeenCalledOnce());
  });

  it("never crashes, and writes nothing but JSON-RPC lines, whatever bytes come in", async () => {
    const message = fc.oneof(
      fc.json(),
      fc
        .record({ jsonrpc: fc.constantFrom("2.0", "1.0"), id: fc.jsonValue(), method: fc.jsonValue() })
        .map((value) => JSON.stringify(value)),
      fc.string({ unit: "binary" }),
    );
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array)),
      fc.array(message, { maxLength: 5 }).map((lines) => Buffer.from(lines.join("\n") + "\n")),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(bytes, { maxLength: 5 }), async (chunks) => {
        const { input, received, written } = connect({ maxLineBytes: 200 });
        for (const chunk of chunks) input.write(chunk);
        input.write(`\n${line(request("last"))}`);
        await turn();
        expect(received.at(-1)).toEqual(request("last"));
        for (const text of written) {
          expect(text.indexOf("\n")).toBe(text.length - 1);
          expect(JSON.parse(text)).toMatchObject({ jsonrpc: "2.0", error: { code: -32600 } });
        }
      }),
      { numRuns: 300 },
    );
  });
});
