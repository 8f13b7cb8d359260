import { getMcpConfigForManifest, vAny } from "@anthropic-ai/mcpb";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packBundle } from "../scripts/bundle.ts";
import { tools } from "../src/tools/index.ts";
import { startFakeOllama, type FakeOllama } from "./support/fake-ollama.ts";
import { serverEnvironment } from "./support/stdio-client.ts";

const run = promisify(execFile);
const mcpb = fileURLToPath(new URL("../node_modules/@anthropic-ai/mcpb/dist/cli/cli.js", import.meta.url));

let folder = "";
let ollama: FakeOllama;
let environment: Record<string, string>;
let bundle = "";
/** Where a client unpacks the bundle. */
let extension = "";

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-mcpb-"));
  bundle = await packBundle(folder);
  extension = path.join(folder, "extension");
  await run(process.execPath, [mcpb, "unpack", bundle, extension]);
  ollama = await startFakeOllama({ models: [{ name: "smollm2:135m", reply: "The sky is blue." }], tokensPerSecond: 0 });
  environment = serverEnvironment({
    HOME: folder,
    OLLM_HOME: path.join(folder, "home"),
    OLLAMA_HOST: ollama.url,
    OLLM_MEMORY_AVAILABLE_BYTES: "16000000000",
  });
}, 120_000);

afterAll(async () => {
  await command("daemon", "stop");
  await ollama.close();
  await rm(folder, { recursive: true, force: true });
});

const command = (...args: readonly string[]) =>
  run(process.execPath, [path.join(extension, "dist", "cli.mjs"), ...args], { env: environment });

async function daemonStatus(): Promise<{ running: boolean; isStandalone?: boolean }> {
  return JSON.parse((await command("daemon", "status", "--json")).stdout) as { running: boolean };
}

async function readManifest() {
  return vAny.McpbManifestSchema.parse(JSON.parse(await readFile(path.join(extension, "manifest.json"), "utf8")));
}

/** The command that a client makes of the manifest and of what its user chose. */
async function clientLaunch(userConfig: Record<string, string | string[]>): Promise<{ args: string[]; env: object }> {
  const config = await getMcpConfigForManifest({
    manifest: await readManifest(),
    extensionPath: extension,
    systemDirs: {},
    userConfig,
    pathSeparator: path.sep,
  });
  expect(config?.command).toBe("node");
  return { args: config?.args ?? [], env: config?.env ?? {} };
}

/** Run before the launcher: a process that looks like an Electron helper, or like an old Node. */
const pretendElectron = `Object.defineProperty(process, "versions", { value: { ...process.versions, electron: "37.0.0" } });`;
const pretendOld = `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "18.20.0" } });`;
const pretendNoNode = `import fs from "node:fs"; import { syncBuiltinESMExports } from "node:module";
fs.accessSync = () => { throw new Error("not here"); }; syncBuiltinESMExports();`;

const before = (code: string) => ["--import", `data:text/javascript,${encodeURIComponent(code)}`];

async function connect(nodeFlags: readonly string[], userConfig: Record<string, string | string[]> = {}) {
  const { args, env } = await clientLaunch(userConfig);
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [...nodeFlags, ...args],
    env: { ...environment, ...env },
    stderr: "pipe",
  });
  let stderr = "";
  transport.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const client = new Client({ name: "bundle-test", version: "1.0.0" });
  await client.connect(transport);
  return {
    stderr: () => stderr,
    close: () => client.close(),
    call: async (name: string, input: Record<string, unknown>) => await client.callTool({ name, arguments: input }),
  };
}

describe("the desktop bundle", () => {
  it("is below 2.3 MB, of this version, and names the tools that there are", async () => {
    expect((await stat(bundle)).size).toBeLessThan(2_300_000);
    const manifest = await readManifest();
    const { version } = JSON.parse(await readFile(new URL("../package.json", import.meta.url), "utf8")) as {
      version: string;
    };
    expect(manifest.version).toBe(version);
    expect(manifest.tools?.map(({ name }) => name)).toEqual(tools.map(({ name }) => name));
    for (const option of Object.values(manifest.user_config ?? {})) expect(option.description).not.toBe("");
  });

  it("is valid for the format's own program, which reads it back", async () => {
    const valid = await run(process.execPath, [mcpb, "validate", path.join(extension, "manifest.json")]);
    expect(valid.stdout).toContain("Manifest schema validation passes!");
    const { stdout } = await run(process.execPath, [mcpb, "info", bundle]);
    expect(stdout).toContain(path.basename(bundle));
    expect(stdout).toMatch(/not signed/i);
  });

  it("has its icon in the size that the manifest states", async () => {
    const manifest = await readManifest();
    if (manifest.manifest_version !== "0.4") throw new Error(`manifest ${manifest.manifest_version}`);
    const [icon] = manifest.icons ?? [];
    const png = await readFile(path.join(extension, icon?.src ?? ""));
    expect(icon?.size).toBe(`${png.readUInt32BE(16)}x${png.readUInt32BE(20)}`);
    expect(manifest.icon).toBe(icon?.src);
  });

  it("holds the lockfiles from which the embedded engine is installed", async () => {
    const lock = path.join(extension, "dist", "engine-lock", "linux-x64", "package-lock.json");
    expect(await readFile(lock, "utf8")).toContain('"integrity": "sha512-');
  });

  it("starts in Node as it is: through the daemon, with the folders that the user chose", async () => {
    const client = await connect([], { folders: [folder, path.join(folder, "gone")], model: "smollm2:135m" });
    const answer = await client.call("route_and_generate", { prompt: "What colour is the sky?" });
    expect(answer.structuredContent).toMatchObject({ text: "The sky is blue." });
    expect(client.stderr()).toContain(`${path.join(folder, "gone")} is not a folder; it is ignored`);
    const file = path.join(extension, "manifest.json");
    const read = await client.call("route_and_generate", { prompt: "Summarise.", files: [file] });
    expect(read.isError).toBeFalsy();
    expect(await daemonStatus()).toMatchObject({ running: true, isStandalone: false });
    await client.close();
    await command("daemon", "stop");
  }, 60_000);

  it("runs in a real Node when it is started inside Electron", async () => {
    const client = await connect(before(pretendElectron));
    const answer = await client.call("route_and_generate", { prompt: "What colour is the sky?" });
    expect(answer.structuredContent).toMatchObject({ text: "The sky is blue." });
    // What is in the helper's own process would be standalone.
    expect(await daemonStatus()).toMatchObject({ running: true, isStandalone: false });
    await client.close();
    await command("daemon", "stop");
  }, 60_000);

  it("serves from inside Electron, without the embedded engine, where there is no Node", async () => {
    const client = await connect(before(pretendElectron + pretendNoNode));
    expect(client.stderr()).toContain("Node was not found");
    expect(await daemonStatus()).toMatchObject({ running: true, isStandalone: true });
    const status = await client.call("system_status", {});
    expect(JSON.stringify(status.structuredContent)).toContain('"ollama"');
    expect(JSON.stringify(status.structuredContent)).not.toContain('"llama-cpp"');
    await client.close();
    expect(await daemonStatus()).toMatchObject({ running: false });
  }, 60_000);

  it("says what is missing where Node is too old, and ends with 1", async () => {
    const { args } = await clientLaunch({});
    const flags = before(pretendOld + pretendNoNode);
    const outcome = await run(process.execPath, [...flags, ...args], { env: environment }).catch(
      (error: unknown) => error,
    );
    expect(outcome).toMatchObject({ code: 1, stdout: "" });
    expect((outcome as { stderr: string }).stderr).toContain("Node 20.19 or newer is required, this is 18.20.0");
  });
});
