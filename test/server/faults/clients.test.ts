import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { call, startMachine, type Machine } from "./machine.ts";

let machine: Machine;
beforeEach(async () => {
  machine = await startMachine();
});
afterEach(() => machine.close());

describe("a home below a regular file", () => {
  it("is replaced by a temporary one, with a warning, and only its own client is served", async () => {
    const file = path.join(machine.folder, "file");
    await writeFile(file, "");
    const client = await machine.client([], { OLLM_HOME: path.join(file, "home") });
    client.send(call(1, "route_and_generate", { prompt: "Hi" }));
    expect(await client.next()).toMatchObject({ id: 1, result: { structuredContent: { text: "The sky is blue." } } });
    expect(client.stderr()).toContain(file);
    expect(client.stderr()).toContain("standalone");
    client.process.stdin?.end();
    expect(await client.exited).toBe(0);
    expect(await readFile(file, "utf8")).toBe("");
  });
});

describe("a port in use by another program", () => {
  it("is named by ollm serve, which prints no address, and the daemon continues", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as AddressInfo;
    try {
      const client = await machine.client();
      const { code, stdout, stderr } = await machine.command("serve", "--port", String(port), "--json");
      expect([code, stdout]).toEqual([1, ""]);
      expect(stderr).toContain(String(port));
      client.send(call(1, "list_models"));
      expect(await client.next()).toMatchObject({ id: 1, result: { structuredContent: { total: 1 } } });
    } finally {
      taken.close();
    }
  });
});

describe("a client that closes stdin in the middle of a generation", () => {
  it("ends its front within 2 s, and the engine's connection is cut", async () => {
    machine.ollama.misbehave({ kind: "hang", afterLines: 1 });
    const client = await machine.client();
    client.send(call(1, "route_and_generate", { prompt: "Hi" }));
    const request = await machine.ollama.request("/api/chat");
    const startedMs = performance.now();
    client.process.stdin?.end();
    expect(await client.exited).toBe(0);
    expect(performance.now() - startedMs).toBeLessThan(2_000);
    await request.closed;
    expect(request.wasCutByClient).toBe(true);
  });

  it("that is killed instead: the engine's connection is cut too, and a neighbour is served", async () => {
    machine.ollama.misbehave({ kind: "hang", afterLines: 1 });
    const [client, neighbour] = [await machine.client(), await machine.client()];
    client.send(call(1, "route_and_generate", { prompt: "Hi" }));
    const request = await machine.ollama.request("/api/chat");
    client.process.kill("SIGKILL");
    await request.closed;
    expect(request.wasCutByClient).toBe(true);
    neighbour.send(call(1, "route_and_generate", { prompt: "Hi" }));
    expect(await neighbour.next()).toMatchObject({ result: { structuredContent: { text: "The sky is blue." } } });
  });
});

describe("half a line of JSON", () => {
  it("at the end of stdin is dropped: no answer, a clean exit", async () => {
    const client = await machine.client();
    client.process.stdin?.end('{"jsonrpc":"2.0","id":1,"method":"tools/');
    await expect(client.next()).rejects.toThrow("the server ended");
    expect(await client.exited).toBe(0);
  });

  it("waits for its other half, while a neighbour is served", async () => {
    const [client, neighbour] = [await machine.client(), await machine.client()];
    client.process.stdin?.write('{"jsonrpc":"2.0","id":1,"meth');
    neighbour.send(call(1, "list_models"));
    expect(await neighbour.next()).toMatchObject({ id: 1, result: {} });
    client.process.stdin?.write('od":"tools/list"}\n');
    expect(await client.next()).toMatchObject({ id: 1, result: { tools: expect.any(Array) } });
  });
});
