import { mkdtemp, readFile, rm, stat, writeFile, mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { newestClaim } from "../../src/ipc/claim-record.ts";
import { startFakeOllama, type FakeOllama } from "../support/fake-ollama.ts";
import {
  connectStdio,
  initialize,
  serverEnvironment,
  startRaw,
  type ClientKind,
  type RawServer,
  type StdioClient,
} from "../support/stdio-client.ts";

const kinds: readonly ClientKind[] = ["modern", "legacy", "sdk-1"];

let folder = "";
let home = "";
let ollama: FakeOllama;
let environment: Record<string, string>;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-standalone-"));
  home = path.join(folder, "home");
  ollama = await startFakeOllama({
    models: [{ name: "smollm2:135m", reply: "The sky is blue." }],
    tokensPerSecond: 0,
  });
  environment = serverEnvironment({
    HOME: folder,
    OLLM_HOME: home,
    OLLM_HOST: ollama.url,
    OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false",
    OLLM_MEMORY_AVAILABLE_BYTES: "16000000000",
  });
});

afterEach(async () => {
  await ollama.close();
  await rm(folder, { recursive: true, force: true });
});

describe.each(kinds)("the built server and a %s client", (kind) => {
  let client: StdioClient;
  afterEach(async () => client.close());

  it("list, load, generate, read and manage", async () => {
    client = await connectStdio(kind, environment);
    if (kind !== "sdk-1") expect(client.protocolVersion()).toBe(kind === "modern" ? "2026-07-28" : "2025-11-25");
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name)).toContain("route_and_generate");

    const list = await client.callTool("list_models", {});
    expect(list.structuredContent).toMatchObject({ total: 1, models: [{ name: "smollm2:135m" }] });

    // OLLM_MEMORY_AVAILABLE_BYTES holds in one process too.
    const planned = await client.callTool("smart_load", { model: "smollm2:135m", dry_run: true });
    expect(planned.structuredContent).toMatchObject({ plan: { fits: true, free_bytes: 16_000_000_000 } });

    const answer = await client.callTool("route_and_generate", { prompt: "What colour is the sky?" });
    expect(answer.structuredContent).toEqual({ text: "The sky is blue.", model: "smollm2:135m" });

    const status = await client.callTool("system_status", {});
    expect(status.structuredContent).toMatchObject({ privacy: "local_only", remote_requests: 0 });
    expect(await client.readResource("ollm://models/smollm2%3A135m")).toMatchObject({
      contents: [{ mimeType: "application/json", text: expect.stringContaining('"name":"smollm2:135m"') }],
    });

    const unloaded = await client.callTool("manage_model", { action: "unload_all" });
    expect(unloaded.structuredContent).toMatchObject({ unloaded: [{ name: "smollm2:135m" }] });
  });

  it("cancels: the engine's connection is cut", async () => {
    ollama.misbehave({ kind: "hang", afterLines: 2 });
    client = await connectStdio(kind, environment);
    const abort = new AbortController();
    const call = client.callTool("route_and_generate", { prompt: "Hi" }, () => undefined, abort.signal);
    const request = await ollama.request("/api/chat");
    abort.abort();
    await expect(call).rejects.toThrow();
    await request.closed;
    expect(request.wasCutByClient).toBe(true);
    expect(await client.callTool("route_and_generate", { prompt: "Hi" })).toMatchObject({
      structuredContent: { text: "The sky is blue." },
    });
  });
});

describe("the built server", () => {
  let server: RawServer | undefined;
  afterEach(() => server?.process.kill("SIGKILL"));

  it("makes its home for its user alone, and says in it that it holds it, until it ends", async () => {
    server = startRaw(environment);
    server.send(initialize);
    await server.next();
    if (process.platform !== "win32") expect((await stat(home)).mode & 0o777).toBe(0o700);
    expect(newestClaim(home)).toMatchObject({ pid: server.process.pid, isStandalone: true });
    server.process.stdin?.end();
    expect(await server.exited).toBe(0);
    expect(newestClaim(home)).toMatchObject({ pid: server.process.pid, ended: true });
  });

  it("uses a temporary home until its end, with a warning, when its own can't be written", async () => {
    await writeFile(home, "a file in the way");
    server = startRaw({ ...environment, OLLM_TOOLS_SETS: "all" });
    server.send(initialize);
    await server.next();
    const params = { name: "system_status", arguments: {}, _meta: { "ollm/details": true } };
    server.send({ jsonrpc: "2.0", id: 1, method: "tools/call", params });
    const answer = await server.next();
    const used = (answer as { result: { structuredContent: { home: string } } }).result.structuredContent.home;
    expect(path.basename(used)).toMatch(/^ollm-home-/);
    expect(server.stderr()).toContain("can't be used");
    // What would be gone with it is not acknowledged.
    const tool = async (id: number, name: string, given: object) => {
      server?.send({ jsonrpc: "2.0", id, method: "tools/call", params: { name, arguments: given } });
      return JSON.stringify(await server?.next());
    };
    expect(await tool(2, "remember", { key: "a", value: "b" })).toContain(`${home} can't be used`);
    expect(await tool(3, "recall", {})).toContain('"total":0');
    const template = await tool(4, "create_template", { name: "new", template: "x" });
    expect(template).toContain('"isError":true');
    expect(template).toContain(JSON.stringify(home).slice(1, -1));
    server.process.stdin?.end();
    expect(await server.exited).toBe(0);
    await expect(stat(used)).rejects.toThrow("ENOENT");
  });

  it("uses the templates of a home that can't be written", async () => {
    const templates = path.join(home, "templates");
    await mkdir(templates, { recursive: true });
    await writeFile(path.join(templates, "own.yaml"), "template: Hi {name}\n");
    await writeFile(path.join(home, "run"), "a file in the way");
    server = startRaw({ ...environment, OLLM_TOOLS_SETS: "all" });
    server.send(initialize);
    await server.next();
    const given = { name: "render_template", arguments: { name: "own", variables: { name: "Ann" } } };
    server.send({ jsonrpc: "2.0", id: 1, method: "tools/call", params: given });
    expect(JSON.stringify(await server.next())).toContain("Hi Ann");
    expect(server.stderr()).toContain("can't be used");
  });

  it("reads files of the project that it is started in and of --root folders, and refuses others", async () => {
    const notes = path.join(folder, "notes");
    await mkdir(notes);
    await writeFile(path.join(notes, "a.txt"), "The sky is green today.");
    const client = await connectStdio("modern", environment, ["--standalone", "--root", notes]);
    await client.callTool("route_and_generate", { prompt: "What colour?", files: ["a.txt", "tsconfig.json"] });
    const refused = await client.callTool("route_and_generate", {
      prompt: "What?",
      files: [path.join(folder, "x.txt")],
    });
    await client.close();
    const chats = ollama.requests.filter((request) => request.path === "/api/chat");
    expect(JSON.stringify(chats.map(({ body }) => body))).toMatch(
      /The sky is green today\..*exactOptionalPropertyTypes/,
    );
    expect(refused.isError).toBe(true);
    expect(JSON.stringify(refused.content)).toContain(`--root ${folder}`);
  });

  it("writes nothing but the protocol to stdout, whatever arrives", async () => {
    server = startRaw({ ...environment, OLLM_LOG_LEVEL: "debug" });
    server.process.stdin?.write("garbage\n{}\n[1]\n\u0000\n");
    server.send(initialize);
    expect(await server.next()).toMatchObject({ id: 0, result: { serverInfo: { name: "ollm-mcp" } } });
    server.send({ jsonrpc: "2.0", id: 1, method: "nonsense/method" });
    expect(await server.next()).toMatchObject({ id: 1, error: { code: -32601 } });
    server.send({ jsonrpc: "2.0", id: 2, method: "tools/call", params: { name: 7 } });
    expect(await server.next()).toMatchObject({ id: 2, error: { code: -32602 } });
  });

  it("shows an invalid setting in the answer to a call, and uses it once corrected", async () => {
    await mkdir(home);
    await writeFile(path.join(home, "config.yaml"), "privacy: perhaps\n");
    server = startRaw(environment);
    server.send(initialize);
    await server.next();
    const call = { jsonrpc: "2.0", method: "tools/call", params: { name: "system_status", arguments: {} } };
    server.send({ ...call, id: 1 });
    const wrong = JSON.stringify(await server.next());
    expect(wrong).toContain("config.yaml");
    expect(wrong).toContain("perhaps");
    await writeFile(path.join(home, "config.yaml"), "privacy: allow_remote\n");
    server.send({ ...call, id: 2 });
    expect(await server.next()).toMatchObject({ id: 2, result: { structuredContent: { privacy: "allow_remote" } } });
  });

  it("answers a script that pipes its requests in and closes", async () => {
    server = startRaw(environment);
    const unknown = { jsonrpc: "2.0", method: "tools/call", params: { name: "x", arguments: {} } };
    server.send(initialize);
    server.send({ ...unknown, id: 1 });
    // What it opens with its first call takes a busy machine longer than answers are waited for.
    expect([(await server.next())["id"], (await server.next())["id"]]).toEqual([0, 1]);
    server.send({ ...unknown, id: 2 });
    server.send({ jsonrpc: "2.0", id: 3, method: "tools/list" });
    server.process.stdin?.end();
    const ids = [await server.next(), await server.next()].map(({ id }) => id);
    expect(new Set(ids)).toEqual(new Set([2, 3]));
    expect(await server.exited).toBe(0);
  });

  it("answers a script even when that takes longer than the drain time", async () => {
    const slow = await startFakeOllama({
      models: [{ name: "smollm2:135m", reply: "The sky is blue." }],
      tokensPerSecond: 3,
    });
    try {
      server = startRaw({ ...environment, OLLM_HOST: slow.url });
      server.send(initialize);
      const params = { name: "route_and_generate", arguments: { prompt: "Hi" } };
      server.send({ jsonrpc: "2.0", id: 1, method: "tools/call", params });
      server.process.stdin?.end();
      expect(await server.next()).toMatchObject({ id: 0, result: {} });
      expect(await server.next()).toMatchObject({ id: 1, result: { structuredContent: { text: "The sky is blue." } } });
      expect(await server.exited).toBe(0);
    } finally {
      await slow.close();
    }
  });

  it("exits within 2 s of the client closing stdin, in the middle of a generation, and closes the engine's connection", async () => {
    ollama.misbehave({ kind: "hang", afterLines: 1 });
    server = startRaw(environment);
    server.send(initialize);
    await server.next();
    server.send({
      jsonrpc: "2.0",
      id: 1,
      method: "tools/call",
      params: { name: "route_and_generate", arguments: { prompt: "Hi" } },
    });
    const request = await ollama.request("/api/chat");
    const startMs = performance.now();
    server.process.stdin?.end();
    expect(await server.exited).toBe(0);
    expect(performance.now() - startMs).toBeLessThan(2_000);
    await request.closed;
    expect(request.wasCutByClient).toBe(true);
  });

  it.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("ends at %s", async (signal, code) => {
    server = startRaw(environment);
    server.send(initialize);
    await server.next();
    server.process.kill(signal);
    // Windows knows no such signals: the process is simply ended.
    expect(await server.exited).toBe(process.platform === "win32" ? signal : code);
  });

  it("exits when its output is closed", async () => {
    server = startRaw(environment);
    server.send(initialize);
    await server.next();
    server.process.stdout?.destroy();
    server.send({ jsonrpc: "2.0", id: 1, method: "tools/list" });
    server.send({ jsonrpc: "2.0", id: 2, method: "tools/list" });
    expect(await server.exited).toBe(0);
  });

  it("holds its home alone: of two started at once one serves, and the other says who holds it", async () => {
    const both = [startRaw(environment), startRaw(environment)];
    for (const one of both) one.send(initialize);
    const refused = await Promise.race(
      both.map(async (one) => {
        expect(await one.exited).toBe(1);
        return one;
      }),
    );
    server = both.find((one) => one !== refused);
    expect(await server?.next()).toMatchObject({ id: 0, result: { serverInfo: { name: "ollm-mcp" } } });
    expect(refused.stderr()).toContain(`held by a standalone server of version`);
    expect(refused.stderr()).toContain(`(pid ${server?.process.pid}, `);
  });

  it("serves from two homes at once", async () => {
    const second = { ...environment, OLLM_HOME: path.join(folder, "second") };
    const [one, two] = await Promise.all([connectStdio("modern", environment), connectStdio("legacy", second)]);
    const answers = await Promise.all(
      [one, two].map((client) => client.callTool("route_and_generate", { prompt: "Hi" })),
    );
    await Promise.all([one.close(), two.close()]);
    expect(answers.map(({ structuredContent }) => (structuredContent as { text: string }).text)).toEqual([
      "The sky is blue.",
      "The sky is blue.",
    ]);
  });

  it("says version and help without starting anything", async () => {
    const version = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8"))
      .version as string;
    const shown = startRaw(environment, ["--version"]);
    let stdout = "";
    shown.process.stdout?.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
    expect(await shown.exited).toBe(0);
    expect(stdout).toBe(`${version}\n`);
  });
});
