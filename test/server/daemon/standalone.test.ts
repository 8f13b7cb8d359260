import { spawn } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { claimGenerations } from "../../../src/ipc/claim-record.ts";
import { makeDaemonHome, type DaemonHome } from "../../support/daemon-home.ts";
import {
  builtCommand,
  connectStdio,
  initialize,
  startRaw,
  type RawServer,
  type StdioClient,
} from "../../support/stdio-client.ts";

let fixture: DaemonHome;
const clients: StdioClient[] = [];
const raws: RawServer[] = [];

beforeEach(async () => {
  fixture = await makeDaemonHome();
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close().catch(() => undefined)));
  for (const server of raws.splice(0)) server.process.kill("SIGKILL");
  await fixture.close();
});

async function front(): Promise<StdioClient> {
  const client = await connectStdio("legacy", fixture.environment, []);
  clients.push(client);
  return client;
}

function raw(args: readonly string[]): RawServer {
  const server = startRaw(fixture.environment, args);
  raws.push(server);
  return server;
}

describe("a standalone server", () => {
  it("serves fronts while its own client reads nothing", async () => {
    const standalone = spawn(process.execPath, [builtCommand, "--standalone"], {
      env: fixture.environment,
      stdio: ["pipe", "pipe", "ignore"],
    });
    try {
      standalone.stdin.write(`${JSON.stringify(initialize)}\n`);
      await fixture.until("the claim", () => claimGenerations(fixture.home).length === 1);
      // Together more than a pipe holds.
      for (let id = 1; id <= 50; id += 1) {
        standalone.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id, method: "tools/list" })}\n`);
      }
      const client = await front();
      expect((await client.callTool("system_status", {})).isError).not.toBe(true);
      expect((await fixture.status()).pid).toBe(standalone.pid);
    } finally {
      standalone.kill("SIGKILL");
    }
  });

  it("is refused while a daemon holds the home, naming it, before it answers anything", async () => {
    await front();
    const { pid, version } = await fixture.status();
    const refused = raw(["--standalone"]);
    refused.send(initialize);
    let stdout = "";
    refused.process.stdout?.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
    expect(await refused.exited).toBe(1);
    expect(refused.stderr()).toContain(`of version ${version} (pid ${pid}, `);
    expect(stdout).toBe("");
  });

  it("serves fronts too; when it ends they start a daemon", async () => {
    const standalone = raw(["--standalone"]);
    standalone.send(initialize);
    await standalone.next();
    const client = await front();
    expect((await client.callTool("system_status", {})).isError).not.toBe(true);
    expect(await fixture.status()).toMatchObject({ pid: standalone.process.pid, isStandalone: true });
    expect((await fixture.status()).clients.map(({ client: name }) => name).toSorted()).toEqual(["raw", "test-legacy"]);
    standalone.process.stdin?.end();
    expect(await standalone.exited).toBe(0);
    expect((await client.callTool("system_status", {})).isError).not.toBe(true);
    expect((await fixture.status()).isStandalone).toBe(false);
  });

  it("can't be told to hand over", async () => {
    const standalone = raw(["--standalone"]);
    standalone.send(initialize);
    await standalone.next();
    expect(await fixture.ask("handover")).toMatchObject({
      ok: false,
      next: [{ step: "advice", text: expect.stringContaining("close the client") }],
    });
  });
});
