import { once } from "node:events";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { initialize, startRaw } from "../../support/stdio-client.ts";
import { startMachine, type Machine } from "../faults/machine.ts";

const runs = 15;

/** What clients send, whole, cut and broken. */
const lines = fc.constantFrom(
  JSON.stringify(initialize),
  '{"jsonrpc":"2.0","method":"notifications/initialized"}',
  '{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
  '{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"system_status"}}',
  '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"list_models","arguments":[1]}}',
  '{"jsonrpc":"2.0","id":3,"method":"resources/read","params":{"uri":"ollm://models/%00"}}',
  '{"jsonrpc":"2.0","id":4,"method":"resources/subscribe","params":{"uri":"ollm://status/ram"}}',
  '{"jsonrpc":"2.0","id":1,"result":{}}',
  '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}',
  '{"ollm":"farewell","reason":"stop"}',
  '{"ollm":1,"nonce":""}',
  '[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
);
const piece = fc.oneof(
  { weight: 3, arbitrary: lines.map((line) => Buffer.from(`${line}\n`)) },
  { weight: 1, arbitrary: lines.chain((line) => fc.nat(line.length).map((end) => Buffer.from(line.slice(0, end)))) },
  { weight: 1, arbitrary: fc.json().map((text) => Buffer.from(`${text}\n`)) },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) },
  { weight: 1, arbitrary: fc.constantFrom("\n", "\r\n", "\0", "\u{feff}", "\ud83d").map((text) => Buffer.from(text)) },
);

describe.each([
  ["through front and daemon", []],
  ["standalone", ["--standalone"]],
] as const)("any bytes on stdin, %s", (_, args) => {
  let machine: Machine;
  beforeAll(async () => {
    machine = await startMachine();
  });
  afterAll(() => machine.close());

  it("lead to JSON-RPC on stdout or to nothing, and to a clean end", { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) => {
        const server = startRaw({ ...machine.environment }, args);
        let stdout = "";
        server.process.stdout?.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
        for (const bytes of pieces) {
          if (server.process.stdin?.write(bytes) === false) await once(server.process.stdin, "drain");
        }
        server.process.stdin?.end();
        expect(await server.exited).toBe(0);
        const messages = stdout.split("\n").filter((line) => line !== "");
        for (const message of messages) expect(JSON.parse(message)).toMatchObject({ jsonrpc: "2.0" });
        expect(stdout === "" || stdout.endsWith("\n")).toBe(true);
      }),
      { numRuns: runs, endOnFailure: true, examples: [[[]]] },
    );
    // The last one did not take the daemon with it.
    const after = await machine.client(args);
    after.send({ jsonrpc: "2.0", id: 1, method: "tools/list" });
    expect(await after.next()).toMatchObject({ id: 1, result: {} });
  });
});
