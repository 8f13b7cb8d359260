import type { JSONRPCMessage } from "@modelcontextprotocol/server";
import { createServer as createNetServer, connect, type AddressInfo, type Socket } from "node:net";
import { Writable } from "node:stream";
import { afterEach, describe, expect, it, vi } from "vitest";
import { createSendQueue, StdioTransport } from "../../src/server/mcp/stdio-transport.ts";
import { eventually } from "../support/eventually.ts";

/** A reader that takes nothing until it is told to. */
function slowReader() {
  const written: JSONRPCMessage[] = [];
  let isReading = false;
  let waiting: (() => void) | undefined;
  const output = new Writable({
    write(chunk: Buffer, _encoding, done) {
      written.push(JSON.parse(chunk.toString()) as JSONRPCMessage);
      if (isReading) done();
      else waiting = done;
    },
  });
  const states: boolean[] = [];
  const lost: number[] = [];
  const queue = createSendQueue(
    output,
    { onBehind: (isBehind) => states.push(isBehind), onLost: (bytes) => lost.push(bytes), onEmpty: () => undefined },
    { behindBytes: 20_000, lostBytes: 60_000 },
  );
  return {
    queue,
    written,
    states,
    lost,
    async read() {
      isReading = true;
      waiting?.();
      await eventually(() => expect(output.writableLength).toBe(0));
    },
  };
}

const answer = (id: number, bytes: number): JSONRPCMessage => ({
  jsonrpc: "2.0",
  id,
  result: { text: "x".repeat(bytes) },
});
const progress = (progressToken: string | number, value: number): JSONRPCMessage => ({
  jsonrpc: "2.0",
  method: "notifications/progress",
  params: { progressToken, progress: value },
});
const updated = (uri: string): JSONRPCMessage => ({
  jsonrpc: "2.0",
  method: "notifications/resources/updated",
  params: { uri },
});

describe("the queue of a client that is behind", () => {
  it("holds the newest progress of each token and one change of each address, and sends them when it has caught up", async () => {
    const { queue, written, states, read } = slowReader();
    queue.send(answer(1, 30_000));
    for (let value = 1; value <= 1_000; value += 1) {
      queue.send(progress("a", value));
      queue.send(progress(7, value));
      queue.send(updated("ollm://status/ram"));
      queue.send({ jsonrpc: "2.0", method: "notifications/resources/list_changed" });
    }
    queue.send(answer(2, 10));
    expect(states).toEqual([true]);
    expect(queue.isEmpty()).toBe(false);
    await read();
    expect(states).toEqual([true, false]);
    expect(written.slice(1)).toEqual([
      answer(2, 10),
      progress("a", 1_000),
      progress(7, 1_000),
      updated("ollm://status/ram"),
      { jsonrpc: "2.0", method: "notifications/resources/list_changed" },
    ]);
    await eventually(() => expect(queue.isEmpty()).toBe(true));
  });

  it("drops the progress of a call that has ended: it would come after its answer", async () => {
    const { queue, written, read } = slowReader();
    queue.send(answer(1, 30_000));
    queue.send(progress("a", 1));
    queue.forget("a");
    await read();
    expect(written).toEqual([answer(1, 30_000)]);
  });

  it("gives the client up when it leaves too much unread", () => {
    const { queue, lost } = slowReader();
    queue.send(answer(1, 30_000));
    queue.send(answer(2, 20_000));
    expect(lost).toEqual([]);
    queue.send(answer(3, 20_000));
    expect(lost).toHaveLength(1);
    expect(lost[0]).toBeGreaterThan(60_000);
  });
});

describe("connections over a socket", () => {
  const open: { destroy(): void }[] = [];
  afterEach(() => {
    for (const each of open.splice(0)) each.destroy();
  });

  /** A server that answers each request with `answerBytes` bytes. */
  async function serve(answerBytes: number) {
    const lost: string[] = [];
    const received: number[] = [];
    const server = createNetServer((socket) => {
      open.push(socket);
      const name = received.push(0) - 1;
      const transport = new StdioTransport(socket, socket, { onLost: (message) => lost.push(message) });
      // oxlint-disable-next-line unicorn/prefer-add-event-listener -- the SDK's transports have no other way.
      transport.onmessage = (message) => {
        received[name] = (received[name] ?? 0) + 1;
        if ("id" in message) void transport.send(answer(message.id as number, answerBytes)).catch(() => undefined);
      };
      void transport.start();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    open.push({ destroy: () => server.close() });
    const { port } = server.address() as AddressInfo;
    const client = async (): Promise<Socket> => {
      const socket = connect(port, "127.0.0.1");
      open.push(socket);
      socket.on("error", () => undefined);
      await new Promise<void>((resolve) => socket.once("connect", () => resolve()));
      return socket;
    };
    return { client, lost, received };
  }

  const request = (id: number, padding = 0) =>
    `${JSON.stringify({ jsonrpc: "2.0", id, method: "ping", params: { padding: "x".repeat(padding) } })}\n`;

  it("a client that never reads is not read from either, and its neighbour is served meanwhile", async () => {
    const { client, lost, received } = await serve(64 * 1024);
    const deaf = await client();
    deaf.pause();
    for (let id = 1; id <= 2_000; id += 1) deaf.write(request(id, 1_000));
    await eventually(() => expect(received[0]).toBeGreaterThan(0));

    const neighbour = await client();
    let bytes = 0;
    neighbour.on("data", (chunk: Buffer) => (bytes += chunk.length));
    for (let id = 1; id <= 20; id += 1) neighbour.write(request(id));
    await eventually(() => expect(bytes).toBeGreaterThan(20 * 64 * 1024));

    // All 2,000 answers would be 128 MB: those of the last chunk that was read, and no more, wait in memory.
    expect(received[0]).toBeLessThan(600);
    expect(lost).toEqual([]);
  });

  it("a client that asks slowly and reads late gets every answer, in order", async () => {
    const { client, lost } = await serve(128 * 1024);
    const late = await client();
    late.pause();
    for (let id = 1; id <= 100; id += 1) late.write(request(id));
    await new Promise((resolve) => setImmediate(resolve));
    const ids: number[] = [];
    let rest = "";
    late.on("data", (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split("\n");
      rest = lines.pop() ?? "";
      ids.push(...lines.map((line) => (JSON.parse(line) as { id: number }).id));
    });
    late.resume();
    await vi.waitFor(() => expect(ids).toHaveLength(100), { timeout: 20_000 });
    expect(ids).toEqual(Array.from({ length: 100 }, (_unused, index) => index + 1));
    expect(lost).toEqual([]);
  });

  it("a client that leaves 32 MiB unread is cut off, with a line for the log", async () => {
    const { client, lost } = await serve(4 * 1024 ** 2);
    const deaf = await client();
    deaf.pause();
    const closed = new Promise<void>((resolve) => deaf.once("close", () => resolve()));
    deaf.write(Array.from({ length: 40 }, (_unused, index) => request(index)).join(""));
    await eventually(() => expect(lost).toHaveLength(1));
    expect(lost[0]).toMatch(/^closed a connection whose client left \d+ bytes unread$/);
    deaf.resume();
    await closed;
  });
});
