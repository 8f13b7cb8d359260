import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { clientSnippet } from "../../src/cli/commands/serve.ts";
import { newestClaim } from "../../src/ipc/claim-record.ts";
import { httpTokenFile } from "../../src/ipc/run-folder.ts";
import { connectContractClient } from "../server/contract-client.ts";
import { isRunning } from "../support/is-running.ts";
import { builtCommand, serverEnvironment } from "../support/stdio-client.ts";

let folder = "";
let home = "";
let environment: Record<string, string>;
const running: ChildProcess[] = [];

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-serve-"));
  home = path.join(folder, "home");
  environment = serverEnvironment({
    HOME: folder,
    OLLM_HOME: home,
    OLLM_PROVIDERS_OLLAMA_ENABLED: "false",
    OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false",
  });
});

afterEach(async () => {
  for (const child of running.splice(0)) child.kill("SIGKILL");
  const claim = newestClaim(home);
  if (claim !== undefined && claim.ended !== true) {
    await finished(["daemon", "stop"]);
    await vi.waitUntil(() => !isRunning(claim.pid), { timeout: 10_000 });
  }
  await rm(folder, { recursive: true, force: true });
});

interface Serving {
  readonly process: ChildProcess;
  readonly url: string;
  readonly apis: Readonly<Record<string, string>>;
  readonly tokenFile: string;
  readonly stderr: () => string;
  readonly exited: Promise<number | NodeJS.Signals | null>;
}

function run(args: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, [builtCommand, ...args], {
    env: environment,
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.push(child);
  return child;
}

async function finished(args: readonly string[]) {
  const child = run(args);
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout, stderr };
}

async function serve(args: readonly string[] = ["--port", "0"]): Promise<Serving> {
  const child = run(["serve", "--json", ...args]);
  let stderr = "";
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const exited = once(child, "exit").then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals | null);
  const lines = createInterface({ input: child.stdout ?? process.stdin });
  const line = await Promise.race([
    once(lines, "line").then(([text]) => text as string),
    exited.then((code) => {
      throw new Error(`serve ended with ${code}: ${stderr}`);
    }),
  ]);
  const said = JSON.parse(line) as { url: string; token_file: string; apis: Record<string, string> };
  const { url, token_file: tokenFile, apis } = said;
  return { process: child, url, apis, tokenFile, stderr: () => stderr, exited };
}

async function tokenOf({ tokenFile }: Pick<Serving, "tokenFile">): Promise<string> {
  return (await readFile(tokenFile, "utf8")).trim();
}

async function health({ url, tokenFile }: Pick<Serving, "url" | "tokenFile">): Promise<number | undefined> {
  const token = await tokenOf({ tokenFile });
  return fetch(`${url}/health`, { headers: { authorization: `Bearer ${token}` } }).then(
    ({ status }) => status,
    () => undefined,
  );
}

describe("the snippet for clients", () => {
  const entryIn = (text: string) => JSON.parse(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1)) as unknown;

  it("is JSON with the address and the header, and a command that reads the token from its file", () => {
    const text = clientSnippet("http://127.0.0.1:7411", "/home/it's me/run/http-token", "linux");
    const headers = { Authorization: "Bearer TOKEN" };
    expect(entryIn(text)).toEqual({
      mcpServers: { ollm: { type: "http", url: "http://127.0.0.1:7411/mcp", headers } },
    });
    expect(text).toContain(
      "claude mcp add --transport http ollm http://127.0.0.1:7411/mcp \\\n" +
        `    --header "Authorization: Bearer $(cat '/home/it'\\''s me/run/http-token')"\n`,
    );
    expect(text).not.toContain("another machine");
  });

  it("has no header without a token, and an address that a client can connect to", () => {
    const text = clientSnippet("http://0.0.0.0:80", undefined, "linux");
    expect(entryIn(text)).toEqual({ mcpServers: { ollm: { type: "http", url: "http://127.0.0.1:80/mcp" } } });
    expect(text).toContain("ollm http://127.0.0.1:80/mcp\n");
    expect(text).toContain("another machine");
    expect(clientSnippet("http://[::]:7411", undefined, "linux")).toContain('"http://127.0.0.1:7411/mcp"');
  });

  it("is for PowerShell on Windows", () => {
    const text = clientSnippet("http://127.0.0.1:7411", "C:\\o'b\\http-token", "win32");
    expect(text).toContain("mcp `\n");
    expect(text).toContain("$(Get-Content -LiteralPath 'C:\\o''b\\http-token')");
  });
});

describe("ollm serve", () => {
  it("prints one JSON line, serves in the foreground, and closes the listener at SIGTERM", async () => {
    const serving = await serve();
    expect(serving.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(serving.tokenFile).toBe(httpTokenFile(home));
    expect(await health(serving)).toBe(200);
    serving.process.kill("SIGTERM");
    expect(await serving.exited).toBe(process.platform === "win32" ? "SIGTERM" : 0);
    await expect.poll(() => health(serving)).toBeUndefined();
  });

  it("closes only its own listener: another stays open", async () => {
    const [one, other] = [await serve(), await serve()];
    one.process.kill("SIGTERM");
    await one.exited;
    await expect.poll(() => health(one)).toBeUndefined();
    expect(await health(other)).toBe(200);
  });

  it("tells people the addresses and where the token lies, and not the token", async () => {
    const child = run(["serve", "--port", "0"]);
    let said = "";
    child.stdout?.on("data", (chunk: Buffer) => (said += chunk.toString()));
    // What is said last: a pipe may bring it in pieces.
    await expect.poll(() => said, { timeout: 15_000 }).toContain("claude mcp add --transport http ollm ");
    expect(said).toMatch(/http:\/\/127\.0\.0\.1:\d+\/mcp/);
    expect(said).toContain(httpTokenFile(home));
    expect(said).not.toContain((await readFile(httpTokenFile(home), "utf8")).trim());
    // Into a pipe, too: a program reads --json.
    expect(said).toContain('"mcpServers"');
  });

  it("tells which API is served where, to people and with --json, and programs are answered there", async () => {
    await mkdir(home, { mode: 0o700 });
    await writeFile(path.join(home, "config.yaml"), "http:\n  doors: [openai, ollama]\n");
    const child = run(["serve", "--port", "0"]);
    let said = "";
    child.stdout?.on("data", (chunk: Buffer) => (said += chunk.toString()));
    await expect.poll(() => said, { timeout: 15_000 }).toMatch(/^Ollama-compatible API: \S+\n/m);
    const shown = [...said.matchAll(/^(\w+)-compatible API: (\S+)$/gm)].map(([, name = "", at = ""]) => [name, at]);
    expect(shown.map(([name]) => name)).toEqual(["OpenAI", "Ollama"]);
    const headers = { authorization: `Bearer ${await tokenOf({ tokenFile: httpTokenFile(home) })}` };
    for (const [at = "", target] of [
      [shown[0]?.[1], "/models/ollm%2Fauto"],
      [shown[1]?.[1], "/api/version"],
    ])
      expect((await fetch(`${at}${target}`, { headers })).status).toBe(200);
    const { url, apis } = await serve();
    expect(apis).toEqual({ openai: `${url}/v1`, ollama: url });
  });

  it("says which of its settings a running daemon ignores", async () => {
    await serve();
    environment = { ...environment, OLLM_HTTP_ALLOWED_HOSTS: "box.lan:7411" };
    const second = await serve();
    await expect.poll(() => second.stderr()).toContain("OLLM_HTTP_ALLOWED_HOSTS is ignored: http.allowedHosts is []");
  });

  it("refuses an empty address, which would be all of them", async () => {
    const { code, stderr } = await finished(["serve", "--port", "0", "--bind", ""]);
    expect(code).toBe(1);
    expect(stderr).toContain("the address to bind to is empty");
  });

  it("says which port is in use", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as AddressInfo;
    const { code, stdout, stderr } = await finished(["serve", "--port", String(port)]);
    taken.close();
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toContain(`127.0.0.1 port ${port} is already in use`);
    expect(stderr).toContain("--port");
  });

  it("accepts clients without a token if requested, on loopback addresses only", async () => {
    const serving = await serve(["--port", "0", "--no-token"]);
    expect((await fetch(`${serving.url}/health`)).status).toBe(200);
    const { code, stderr } = await finished(["serve", "--port", "0", "--bind", "0.0.0.0", "--no-token"]);
    expect(code).toBe(1);
    expect(stderr).toContain("needs a token");
  });

  const freePort = async (): Promise<number> => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    return port;
  };

  it("serves Ollama's API alone at http.ollamaPort, with the token, and follows the settings", async () => {
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    await mkdir(home, { mode: 0o700 });
    const set = (more: string) => writeFile(path.join(home, "config.yaml"), `http:\n  ollamaPort: ${port}\n${more}`);
    await set("");
    const serving = await serve();
    await expect.poll(() => serving.stderr()).toContain(`Ollama's API is served at ${url}, with the token`);
    const headers = { authorization: `Bearer ${await tokenOf(serving)}` };
    const ask = async (target: string, more: object = headers) => {
      const reply = await fetch(`${url}${target}`, { headers: more as Record<string, string> });
      return [reply.status, await reply.text()] as const;
    };
    expect(await ask("/")).toEqual([200, "Ollama is running"]);
    expect((await ask("/api/tags", {}))[0]).toBe(401);
    for (const target of ["/mcp", "/health", "/dashboard", "/metrics", "/v1/models"])
      expect([target, ...(await ask(target))]).toEqual([target, 404, `{"error":"${target} is not served here"}`]);
    // The other listener has no such API: http.doors doesn't name it.
    expect((await fetch(`${serving.url}/api/tags`, { headers })).status).toBe(404);

    await set("  ollamaWithoutToken: true\n");
    await expect.poll(async () => (await ask("/api/version", {}).catch(() => [0]))[0], { timeout: 10_000 }).toBe(200);
    expect((await ask("/api/version", { origin: "http://evil.example" }))[0]).toBe(403);
    expect(await fetch(`${serving.url}/health`).then(async (reply) => reply.text())).toBe('{"ok":true}');

    serving.process.kill("SIGTERM");
    await serving.exited;
    await expect.poll(() => ask("/").catch(() => "closed"), { timeout: 10_000 }).toBe("closed");
  });

  it("serves all the rest where an Ollama or another program has http.ollamaPort, and says so", async () => {
    for (const [version, who] of [
      ["0.33.0", "an Ollama server (0.33.0)"],
      [undefined, "another program"],
    ] as const) {
      const taken = createServer((_request, response) => response.end(JSON.stringify({ version })));
      await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
      const { port } = taken.address() as AddressInfo;
      await mkdir(home, { mode: 0o700, recursive: true });
      await writeFile(path.join(home, "config.yaml"), `http:\n  ollamaPort: ${port}\n`);
      const serving = await serve();
      await expect.poll(() => serving.stderr(), { timeout: 10_000 }).toContain(`port ${port} is taken by ${who}`);
      expect(await health(serving)).toBe(200);
      taken.close();
      serving.process.kill("SIGTERM");
      await serving.exited;
    }
  });

  it.each([
    ["killed", (pid: number) => process.kill(pid, "SIGKILL")],
    ["restarted", () => finished(["daemon", "restart"])],
  ])(
    "opens the listener again at the next daemon, at the same address, when the daemon is %s",
    async (_how, replace) => {
      const serving = await serve();
      const before = newestClaim(home);
      await replace(before?.pid ?? 0);
      await expect.poll(() => serving.stderr(), { timeout: 20_000 }).toContain(`listening again at ${serving.url}`);
      expect(await health(serving)).toBe(200);
      expect(newestClaim(home)?.pid).not.toBe(before?.pid);
    },
  );

  it.each([
    ["modern", "http"],
    ["legacy", "http"],
    ["sdk-1", "sse"],
  ] as const)(
    "was killed after it had answered a %s client over %s: the next start has no delay",
    async (kind, over) => {
      const serving = await serve();
      const url = `${serving.url}${over === "sse" ? "/sse" : "/mcp"}`;
      const client = await connectContractClient(kind, { over, url, token: await tokenOf(serving) });
      // The handshake is none.
      expect(newestClaim(home)?.hasAnswered).toBeUndefined();
      expect((await client.listTools()).length).toBeGreaterThan(0);
      const before = newestClaim(home);
      expect(before?.hasAnswered).toBe(true);
      process.kill(before?.pid ?? 0, "SIGKILL");
      await expect.poll(() => newestClaim(home)?.generation, { timeout: 20_000 }).toBe(2);
      expect(newestClaim(home)).toMatchObject({ deaths: [expect.any(String)], failedStarts: [] });
      await client.close().catch(() => undefined);
    },
  );

  it("ends when the daemon is stopped, and starts no other", async () => {
    const serving = await serve();
    const { pid } = newestClaim(home) ?? { pid: 0 };
    expect((await finished(["daemon", "stop"])).code).toBe(0);
    expect(await serving.exited).toBe(1);
    expect(serving.stderr()).toContain("the daemon and its HTTP listener were stopped");
    expect(newestClaim(home)).toMatchObject({ pid, ended: true });
  });
});

describe("ollm token rotate", () => {
  it("replaces the token, which open listeners use at once", async () => {
    const serving = await serve();
    const old = (await readFile(serving.tokenFile, "utf8")).trim();
    const { code, stdout } = await finished(["token", "rotate", "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ token_file: serving.tokenFile });
    const fresh = (await readFile(serving.tokenFile, "utf8")).trim();
    expect(fresh).not.toBe(old);
    expect(stdout).not.toContain(fresh);
    const refused = await fetch(`${serving.url}/health`, { headers: { authorization: `Bearer ${old}` } });
    expect(refused.status).toBe(401);
    expect(await health(serving)).toBe(200);
  });
});
