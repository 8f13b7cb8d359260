import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildAll } from "../scripts/build.ts";
import { startFakeOllama, type FakeOllama } from "./support/fake-ollama.ts";
import { isRunning } from "./support/is-running.ts";
import { serverEnvironment } from "./support/stdio-client.ts";

const run = promisify(execFile);
const repository = fileURLToPath(new URL("..", import.meta.url));
const npm = process.platform === "win32" ? "npm.cmd" : "npm";
const isWindows = process.platform === "win32";

let folder = "";
let ollama: FakeOllama;
let environment: Record<string, string>;
/** What `npm pack` says of its tarball. */
let packed: { readonly filename: string; readonly size: number; readonly files: readonly { readonly path: string }[] };
/** The command as npm links it. */
let command = "";

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-package-"));
  // As from a clean checkout: `dist/` here may hold chunks of earlier builds.
  const source = path.join(folder, "source");
  await buildAll(path.join(source, "dist"));
  for (const name of ["package.json", "README.md", "LICENSE", "CHANGELOG.md"]) {
    await copyFile(path.join(repository, name), path.join(source, name));
  }
  const npmEnvironment = { ...serverEnvironment({ HOME: folder, npm_config_cache: path.join(folder, "cache") }) };
  const options = { env: npmEnvironment, shell: isWindows };
  const { stdout } = await run(npm, ["pack", "--json", "--ignore-scripts"], { ...options, cwd: source });
  [packed = { filename: "", size: 0, files: [] }] = JSON.parse(stdout) as (typeof packed)[];

  const place = path.join(folder, "place");
  await mkdir(place);
  await writeFile(path.join(place, "package.json"), "{}");
  const install = ["install", path.join(source, packed.filename), "--offline", "--ignore-scripts", "--no-audit"];
  await run(npm, install, { ...options, cwd: place });
  command = path.join(place, "node_modules", ".bin", isWindows ? "ollm-mcp.cmd" : "ollm-mcp");

  ollama = await startFakeOllama({ models: [{ name: "smollm2:135m", reply: "The sky is blue." }], tokensPerSecond: 0 });
  environment = serverEnvironment({
    HOME: folder,
    OLLM_HOME: path.join(folder, "home"),
    OLLAMA_HOST: ollama.url,
    OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false",
    OLLM_MEMORY_AVAILABLE_BYTES: "16000000000",
  });
}, 120_000);

afterAll(async () => {
  // Also when a test failed on its way there.
  await call("daemon", "stop");
  await ollama.close();
  await rm(folder, { recursive: true, force: true });
});

const call = (...args: readonly string[]) => run(command, [...args], { env: environment, shell: isWindows });

test("the tarball is below 2.3 MB and holds the program, its licences and its documents, nothing else", () => {
  expect(packed.size).toBeLessThan(2_300_000);
  const paths = packed.files.map(({ path: file }) => file);
  const others = paths.filter((file) => !/^dist\/(chunks\/[\w-]+\.mjs|[\w-]+\.mjs)$/.test(file));
  const locks = others.filter((file) => file.startsWith("dist/engine-lock/"));
  expect(others.filter((file) => !locks.includes(file)).toSorted()).toEqual([
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "dist/compare-view.html",
    "dist/completions/ollm.bash",
    "dist/completions/ollm.fish",
    "dist/completions/ollm.powershell",
    "dist/completions/ollm.zsh",
    "dist/dashboard.html.gz",
    "dist/dashboard.webmanifest.gz",
    "dist/sql-wasm.wasm",
    "dist/status-view.html",
    "dist/third-party-licenses.txt",
    "package.json",
  ]);
  // npm leaves lockfiles out at the top only; the embedded engine is installed from these.
  expect(locks.filter((file) => file.endsWith("package-lock.json"))).toHaveLength(10);
});

test("it is installed without any other package", async () => {
  const modules = path.join(folder, "place", "node_modules");
  expect((await readdir(modules)).filter((name) => !name.startsWith("."))).toEqual(["ollm-mcp"]);
  const { dependencies, scripts } = JSON.parse(
    await readFile(path.join(modules, "ollm-mcp", "package.json"), "utf8"),
  ) as { dependencies?: unknown; scripts: Record<string, string> };
  expect(dependencies).toBeUndefined();
  // Clients run `npx -y`: nothing may run at installation.
  expect(Object.keys(scripts).filter((name) => /^(pre|post)?install$/.test(name))).toEqual([]);
});

test("the installed command serves a client through a daemon of its own, and daemon stop ends it", async () => {
  const transport = new StdioClientTransport({
    ...(isWindows ? { command: "cmd", args: ["/c", command] } : { command }),
    env: environment,
    stderr: "ignore",
  });
  const client = new Client({ name: "package-test", version: "1.0.0" });
  await client.connect(transport);
  const { tools } = await client.listTools();
  expect(tools.map(({ name }) => name)).toContain("route_and_generate");
  const answer = await client.callTool({
    name: "route_and_generate",
    arguments: { prompt: "What colour is the sky?" },
  });
  expect(answer.structuredContent).toMatchObject({ text: "The sky is blue.", model: "smollm2:135m" });

  const status = JSON.parse((await call("daemon", "status", "--json")).stdout) as { running: boolean; pid: number };
  expect(status).toMatchObject({ running: true, clients: [expect.anything()] });
  expect(status.pid).not.toBe(transport.pid);
  const { ok, checks } = JSON.parse((await call("doctor", "--json")).stdout) as {
    ok: boolean;
    checks: readonly { readonly name: string; readonly status: string }[];
  };
  expect(ok).toBe(true);
  expect(
    checks.filter(({ name }) => ["daemon", "ollama", "socket"].includes(name)).map((check) => check.status),
  ).toEqual(["ok", "ok", "ok"]);

  await client.close();
  await call("daemon", "stop");
  expect(isRunning(status.pid)).toBe(false);
  expect(JSON.parse((await call("daemon", "status", "--json")).stdout)).toMatchObject({ running: false });
}, 60_000);

test("its version is the one of package.json", async () => {
  const { version } = JSON.parse(await readFile(path.join(repository, "package.json"), "utf8")) as { version: string };
  expect((await call("--version")).stdout).toBe(`${version}\n`);
});
