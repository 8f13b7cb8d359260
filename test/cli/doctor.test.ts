import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { doctor } from "../../src/cli/setup/doctor.ts";

import { machineCheckers } from "../../src/cli/setup/check-machine.ts";
import { type Check, type DoctorWorld, report, runChecks } from "../../src/cli/setup/check.ts";
import { withGuide } from "../../src/cli/setup/guide-plan.ts";
import type { CommandIo } from "../../src/cli/terminal/io.ts";
import { terminalText } from "../../src/cli/terminal/terminal-text.ts";
import { settingsSchema } from "../../src/orchestrator/config/schema.ts";
import { olderGuide } from "../support/older-guide.ts";
import { silentIo } from "../support/silent-io.ts";

let [folder, home] = ["", ""];
const servers: Server[] = [];
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-doctor-"));
  home = path.join(folder, "home");
  await mkdir(home, { mode: 0o700 });
});

afterEach(async () => {
  for (const server of servers.splice(0)) server.close().closeAllConnections();
  await rm(folder, { recursive: true, force: true });
});
function io(environment: Record<string, string> = {}): CommandIo & { readonly written: () => string } {
  let text = "";
  return {
    ...silentIo,
    platform: process.platform,
    node: process.execPath,
    script: path.join(folder, "cli.mjs"),
    stdout: (part) => void (text += part),
    environment: { OLLM_HOME: home, OLLAMA_HOST: "127.0.0.1:1", ...environment },
    userHome: folder,
    workingDirectory: folder,
    written: () => text,
  };
}

async function diagnose(environment: Record<string, string> = {}) {
  const command = io(environment);
  const exitCode = await doctor({ json: true }, command);
  const { ok, checks } = JSON.parse(command.written()) as { ok: boolean; checks: Check[] };
  const of = (name: string) => checks.filter((check) => check.name === name);
  return { exitCode, ok, checks, of };
}

function world(changes: Partial<DoctorWorld>): DoctorWorld {
  return {
    io: io(),
    home,
    build: "1.0.0+a",
    runtime: { nodeVersion: "v22.1.0", isElectron: false },
    daemon: {},
    settings: settingsSchema.parse({}),
    isOllamaExpected: true,
    memory: () => Promise.resolve({ totalBytes: 16e9, availableBytes: 8e9, swapUsedBytes: 0, swapTotalBytes: 8e9 }),
    freeBytes: () => Promise.resolve(50e9),
    get: () => Promise.reject(new Error("not asked here")),
    ...changes,
  };
}

const statuses = (checks: readonly Check[]) => checks.map(({ status }) => status);

describe("ollm doctor", () => {
  it("passes for a fresh home, warns that no model is installed, and creates and starts nothing", async () => {
    const { exitCode, ok, checks, of } = await diagnose();
    expect({ exitCode, ok }).toEqual({ exitCode: 0, ok: true });
    expect(of("models")[0]).toMatchObject({ status: "warn", message: "none installed" });
    expect(of("daemon")[0]?.message).toContain("not running");
    expect(checks.every(({ status, hint }) => (status === "ok") === (hint === undefined))).toBe(true);
    expect(await readdir(home)).toEqual([]);
  });

  it("names the wrong line of config.yaml, continues with the defaults, and exits with 1", async () => {
    await writeFile(path.join(home, "config.yaml"), "privacy: local_only\nmemory:\n  bufferBytes: -1\n");
    const { exitCode, ok, of } = await diagnose();
    expect({ exitCode, ok }).toEqual({ exitCode: 1, ok: false });
    expect(of("settings")[0]).toMatchObject({ status: "fail" });
    expect(of("settings")[0]?.message).toContain("config.yaml:3: memory.bufferBytes is -1");
    expect(of("disk")[0]?.status).not.toBe("fail");
  });

  it("warns about a variable that is not a setting", async () => {
    const { of } = await diagnose({ OLLM_MODLE: "x" });
    expect(of("settings")[0]).toMatchObject({ status: "warn", message: expect.stringContaining("OLLM_MODEL") });
  });

  it("fails for a home below a file and for a home that is a file", async () => {
    await writeFile(path.join(folder, "file"), "");
    for (const OLLM_HOME of [path.join(folder, "file"), path.join(folder, "file", "home")]) {
      const { exitCode, of } = await diagnose({ OLLM_HOME });
      expect(exitCode).toBe(1);
      expect(of("home")[0]).toMatchObject({ status: "fail", message: expect.stringContaining("can't be used") });
    }
  });

  it.skipIf(process.platform === "win32")(
    "fails for a token that others can read, warns about an open home",
    async () => {
      await mkdir(path.join(home, "run"));
      await writeFile(path.join(home, "run", "http-token"), "secret", { mode: 0o644 });
      await chmod(home, 0o755);
      const { of } = await diagnose();
      expect(of("tokens")[0]).toMatchObject({ status: "fail", message: expect.stringContaining("mode 644") });
      expect(of("home")[0]).toMatchObject({ status: "warn", hint: `Run chmod 700 ${home}.` });
      expect(JSON.stringify(of("tokens"))).not.toContain("secret");
    },
  );

  it("reports Ollama's version, and a server that is not Ollama", async () => {
    const answer = async (body: string) => {
      const server = createServer((_request, response) => response.end(body));
      servers.push(server);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const { port } = server.address() as AddressInfo;
      return (await diagnose({ OLLAMA_HOST: `:${port}` })).of("ollama")[0];
    };
    expect(await answer('{"version":"0.9.9"}')).toMatchObject({
      status: "ok",
      message: expect.stringContaining("0.9.9"),
    });
    expect((await answer("<html>"))?.message).toContain("is not Ollama");
  });

  it("names models of settings that no engine has", async () => {
    const answers: Record<string, string> = {
      "/api/version": '{"version":"0.33.0"}',
      "/api/tags": '{"models":[{"name":"a:latest"}]}',
    };
    const server = createServer((request, response) => response.end(answers[request.url ?? ""]));
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    await writeFile(
      path.join(home, "config.yaml"),
      "model:\n  default: a\n  routing: {overrides: {code: coder:7b}}\n  keepAlive: {models: [kept:1b], preload: [early:1b]}\n",
    );
    const missing = (await diagnose({ OLLAMA_HOST: url })).of("models").slice(1);
    expect(missing.map(({ status, message }) => [status, message])).toEqual([
      ["warn", "model.routing.overrides.code names coder:7b, which is not installed"],
      ["warn", "model.keepAlive.models names kept:1b, which is not installed"],
      ["warn", "model.keepAlive.preload names early:1b, which is not installed"],
    ]);
    // A server that doesn't respond may have them.
    expect((await diagnose()).of("models")).toHaveLength(1);
  });

  it("counts the models that only Ollama can read", async () => {
    const answers: Record<string, string> = {
      "/api/version": '{"version":"0.9.9"}',
      "/api/tags": '{"models":[{"name":"a:1b"},{"name":"b:1b"}]}',
    };
    const server = createServer((request, response) => response.end(answers[request.url ?? ""]));
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const { of } = await diagnose({ OLLAMA_HOST: `:${port}` });
    expect(of("models")).toEqual([{ name: "models", status: "ok", message: "none in the store, 2 in Ollama" }]);
  });

  it("ends although Ollama never responds", async () => {
    const server = createServer(() => undefined);
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const { exitCode, of } = await diagnose({ OLLAMA_HOST: `:${port}` });
    expect(exitCode).toBe(0);
    expect(of("ollama")[0]).toMatchObject({ status: "warn" });
  });

  it("names a manifest that can't be parsed", async () => {
    const manifests = path.join(home, "models", "manifests", "registry.ollama.ai", "library", "broken");
    await mkdir(manifests, { recursive: true });
    await writeFile(path.join(manifests, "7b"), "{");
    const { of } = await diagnose();
    expect(
      of("models")
        .map(({ message }) => message)
        .join("\n"),
    ).toContain("broken:7b is ignored");
  });

  it("warns of a guide that an earlier version wrote, and of no other", async () => {
    await mkdir(path.join(folder, ".codex"));
    const write = (text: string) => writeFile(path.join(folder, ".codex", "AGENTS.md"), text);
    const guideChecks = async () => (await diagnose()).of("Codex guide");
    expect(await guideChecks()).toEqual([]);
    await write(`# Mine\n\n${olderGuide("section")}\n`);
    expect(await guideChecks()).toMatchObject([
      {
        status: "warn",
        message: expect.stringContaining("AGENTS.md: out of date"),
        hint: "Run `ollm setup --client codex`.",
      },
    ]);
    await write(withGuide("# Mine\n", "section"));
    expect(await guideChecks()).toEqual([]);
    await write(withGuide("# Mine\n", "section").replace("free,", "cheap,"));
    expect(await guideChecks()).toEqual([]);
  });

  it("checks that an assistant can start its entry", async () => {
    await mkdir(path.join(folder, ".cursor"));
    const write = (args: readonly string[], command = process.execPath) =>
      writeFile(path.join(folder, ".cursor", "mcp.json"), JSON.stringify({ mcpServers: { ollm: { command, args } } }));
    const script = path.join(folder, "cli.mjs");
    await write([script]);
    expect((await diagnose()).of("Cursor")[0]).toMatchObject({
      status: "fail",
      hint: "Run `ollm setup --client cursor`.",
    });
    await writeFile(script, "");
    expect((await diagnose()).of("Cursor")[0]).toMatchObject({ status: "ok" });
    await write([script], path.join(folder, "no-node"));
    expect((await diagnose()).of("Cursor")[0]?.message).toContain("no-node does not exist or can't be executed");
    await writeFile(path.join(folder, ".cursor", "mcp.json"), "{}");
    expect((await diagnose()).of("Cursor")[0]).toMatchObject({
      status: "warn",
      hint: "Run `ollm setup --client cursor`.",
    });
    await writeFile(path.join(folder, ".cursor", "mcp.json"), "{");
    expect((await diagnose()).of("Cursor")[0]).toMatchObject({
      status: "fail",
      message: expect.stringContaining("mcp.json:1:2: "),
    });
  });
});

describe("further Ollama servers", () => {
  it("are all asked, and one that doesn't respond is a warning", async () => {
    const { of } = await diagnose({ OLLM_PROVIDERS_OLLAMA_HOSTS: "127.0.0.1:2,127.0.0.1:3,localhost:2" });
    expect(of("ollama-4")).toEqual([]);
    expect(["ollama-2", "ollama-3"].flatMap(of).map(({ status, message }) => [status, message])).toEqual([
      ["warn", "no response from 127.0.0.1:2 (ECONNREFUSED)"],
      ["warn", "no response from 127.0.0.1:3 (ECONNREFUSED)"],
    ]);
  });
});

describe("checks", () => {
  it.each([
    ["v20.19.0", false, "ok"],
    ["v20.18.9", false, "fail"],
    ["v18.20.0", false, "fail"],
    ["v26.0.0", false, "ok"],
    ["v22.1.0", true, "warn"],
  ])("Node %s (Electron: %s) is %s", async (nodeVersion, isElectron, status) => {
    expect(statuses(await machineCheckers.node(world({ runtime: { nodeVersion, isElectron } })))).toEqual([status]);
  });

  it.each([
    [50e9, "ok"],
    [4.9e9, "warn"],
    [0.4e9, "fail"],
  ])("a disk with %d bytes free is %s", async (bytes, status) => {
    expect(statuses(await machineCheckers.disk(world({ freeBytes: () => Promise.resolve(bytes) })))).toEqual([status]);
  });

  it.each([
    [{ availableBytes: 8e9, swapUsedBytes: 0.2e9 }, "ok"],
    [{ availableBytes: 1e9, swapUsedBytes: 0 }, "warn"],
    [{ availableBytes: 8e9, swapUsedBytes: 5e9 }, "warn"],
    [{ availableBytes: 8e9, swapUsedBytes: 0, loadPerCore: 2.5 }, "warn"],
  ])("memory of %j is %s, as in the status", async (facts, status) => {
    const memory = () => Promise.resolve({ totalBytes: 16e9, swapTotalBytes: 8e9, ...facts });
    expect(statuses(await machineCheckers.memory(world({ memory })))).toEqual([status]);
  });

  it("reports that a running daemon keeps the previous settings while config.yaml is invalid", async () => {
    await writeFile(path.join(home, "config.yaml"), "log: { level: info }\n");
    const daemon = (settingsProblem?: string): DoctorWorld["daemon"] => ({
      status: {
        pid: 7,
        version: "1.0.0+a",
        socket: "s",
        home,
        startedAt: "2020-01-01T00:00:00Z",
        isStandalone: false,
        clients: [],
        listeners: [],
        loaded: [],
        jobs: 0,
        work: [],
        ...(settingsProblem !== undefined && { settingsProblem }),
      },
    });
    const found = (settingsProblem?: string) => machineCheckers.settings(world({ daemon: daemon(settingsProblem) }));
    expect(statuses(await found())).toEqual(["ok"]);
    expect(await found("config.yaml:1: no")).toMatchObject([
      { status: "warn", message: "the daemon: config.yaml:1: no" },
    ]);
    await writeFile(path.join(home, "config.yaml"), "log: { level: loud }\n");
    const [broken] = await found("config.yaml:1: no");
    expect(broken).toMatchObject({ status: "fail" });
    expect(broken?.message).toMatch(/config\.yaml:1: log\.level is "loud".*; the daemon keeps the previous settings$/);
    expect((await found())[0]?.message).not.toContain("previous settings");
  });

  it.skipIf(process.platform === "win32")(
    "says how to make a token private: by its mode, or by replacing it",
    async () => {
      await mkdir(path.join(home, "run"));
      for (const name of ["token", "http-token"]) await writeFile(path.join(home, "run", name), "x", { mode: 0o644 });
      const hints = (await machineCheckers.tokens(world({}))).map(({ hint }) => hint);
      expect(hints).toEqual([`Run chmod 600 ${path.join(home, "run", "token")}.`, "Run `ollm token rotate`."]);
    },
  );

  it("reports a daemon of another build, one that died, and earlier deaths", async () => {
    const claim = {
      generation: 1,
      socket: "s",
      pid: 7,
      version: "1.0.0+b",
      home,
      startedAt: "2026-01-01T00:00:00Z",
      isStandalone: false,
      deaths: [],
      failedStarts: [],
    };
    const status = { ...claim, clients: [], listeners: [], loaded: [], jobs: 0, work: [] };
    const found = (daemon: DoctorWorld["daemon"]) => machineCheckers.daemon(world({ daemon }));
    expect(statuses(await found({ claim, status: { ...status, version: "1.0.0+a" } }))).toEqual(["ok"]);
    expect((await found({ claim, status }))[0]).toMatchObject({
      status: "warn",
      hint: expect.stringContaining("restart"),
    });
    const stuck = { ...status, version: "1.0.0+a", problems: ["ollama responds, but a:1b produced no token"] };
    expect((await found({ claim, status: stuck }))[1]).toMatchObject({
      status: "warn",
      message: "ollama responds, but a:1b produced no token",
      hint: expect.stringContaining("restart an engine"),
    });
    const died = await found({ claim: { ...claim, deaths: ["2026-01-01T00:00:00Z"] }, problem: "connection refused" });
    expect(statuses(died)).toEqual(["warn", "warn"]);
    expect(died[1]?.hint).toContain(path.join(home, "logs", "daemon.log"));
  });

  it("reports a check that hangs or throws as failed and keeps the others", async () => {
    const checks = await runChecks(
      {
        hangs: (_world, aborted) => new Promise((resolve) => aborted.addEventListener("abort", () => resolve([]))),
        throws: () => Promise.reject(new Error("EIO")),
        fine: () => Promise.resolve([{ name: "fine", status: "ok", message: "yes" }]),
      },
      world({}),
      30,
    );
    expect(checks.map(({ name, status }) => [name, status])).toEqual([
      ["hangs", "fail"],
      ["throws", "fail"],
      ["fine", "ok"],
    ]);
  });

  const checks = [
    { name: "node", status: "ok", message: "v22" },
    { name: "models", status: "warn", message: "none", hint: "pull one" },
  ] as const;

  it("prints a line for each check, what to do below it, and a summary", () => {
    const text = report(checks, {});
    expect(text).toBe("✓ node    v22\n! models  none\n          → pull one\n\n2 checks: 1 ok, 1 warning\n");
  });

  it("wraps at words in a terminal, and colours the marks", () => {
    const long = { name: "disk", status: "fail", message: "one two three four", hint: "free some space" } as const;
    expect(report([long], { columns: 22 })).toBe(
      "✗ disk  one two three\n        four\n        → free some\n          space\n\n1 check: 0 ok, 1 failed\n",
    );
    expect(terminalText(report([...checks, long], { hasColour: true }))).toMatch(
      // oxlint-disable-next-line no-control-regex -- colours are control sequences.
      /^\u001B\[32m✓\u001B\[39m node .*\n\u001B\[33m!\u001B\[39m models .*\n.*\n\u001B\[31m✗\u001B\[39m disk /,
    );
  });
});
