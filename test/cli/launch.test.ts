import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { launchPrograms, programAt } from "../../src/cli/commands/launch-program.ts";
import { httpTokenFile } from "../../src/ipc/run-folder.ts";
import { type DaemonHome, makeDaemonHome } from "../support/daemon-home.ts";
import { builtCommand } from "../support/stdio-client.ts";
import { runBuilt, runHere } from "./terminal/built-shell.ts";

const gib = 1024 ** 3;
const tools = ["completion", "tools"];
const models = [
  { name: "coder:3b", capabilities: tools, contextTokens: 40_000 },
  { name: "narrow:3b", capabilities: tools, contextTokens: 8_192 },
  { name: "mute:3b", contextTokens: 131_072 },
  { name: "huge:70b", capabilities: tools, contextTokens: 131_072, sizeBytes: 40 * gib },
];

/** Says how it was started, asks the door as its variables tell it to, and ends with 7; told to wait, it ends by a signal. */
const fakeProgram = `
const { ANTHROPIC_BASE_URL: url, ANTHROPIC_AUTH_TOKEN: token } = process.env;
const said = { args: process.argv.slice(2), env: process.env };
const ask = (headers) => fetch(url + "/v1/messages/nothing", { headers }).then(({ status }) => status, () => 0);
if (url !== undefined) said.statuses = [await ask({ "x-api-key": token }), await ask({ "x-api-key": "no" })];
console.log(JSON.stringify(said));
if (process.argv.includes("wait")) setInterval(() => {}, 1000);
else process.exitCode = 7;
`;

let home: DaemonHome;
let bin = "";

beforeAll(async () => {
  home = await makeDaemonHome({}, { models });
  bin = path.join(home.folder, "bin");
  for (const [name, program] of Object.entries(launchPrograms)) await install(name, program.package);
});
afterAll(() => home.close());

/** As npm does: a script with a shebang, and on Windows a \`.cmd\` beside the package. */
async function install(name: string, packageName: string): Promise<void> {
  const own = path.join(bin, "node_modules", packageName);
  await mkdir(own, { recursive: true });
  await writeFile(path.join(own, "cli.mjs"), fakeProgram);
  await writeFile(path.join(own, "package.json"), JSON.stringify({ bin: { [name]: "cli.mjs" } }));
  await writeFile(path.join(bin, `${name}.cmd`), "");
  const script = `#!/bin/sh\nexec '${process.execPath}' '${path.join(own, "cli.mjs")}' "$@"\n`;
  await writeFile(path.join(bin, name), script);
  await chmod(path.join(bin, name), 0o755);
}

const onPath = (more: Record<string, string> = {}) => ({
  PATH: `${bin}${path.delimiter}${process.env["PATH"]}`,
  ...more,
});

interface Started {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly statuses?: readonly number[];
}

async function launched(words: readonly string[], environment: Record<string, string> = {}) {
  const ran = await runBuilt(home, ["launch", ...words], "", onPath(environment));
  return { ...ran, started: JSON.parse(ran.stdout === "" ? "{}" : ran.stdout) as Started };
}

describe("ollm launch", () => {
  it("starts the program on a model that can call tools, reads 32k tokens and fits, with a door of its own", async () => {
    const own = { ANTHROPIC_API_KEY: "sk-users-own", CLAUDE_CODE_USE_BEDROCK: "1", NO_PROXY: "corp.example" };
    const { code, stderr, started } = await launched(["claude", "--", "-p", "hi there"], own);
    expect(code).toBe(7);
    expect(stderr).toContain("Claude Code on coder:3b: 40,000 tokens of context");
    expect(stderr).toMatch(/the first answer reads about 22,000 tokens: about \d+ (s|min), expected, not measured/);
    const { env, args, statuses } = started;
    expect(args.slice(-2)).toEqual(["-p", "hi there"]);
    expect(args[args.indexOf("--model") + 1]).toBe("coder:3b");
    expect(env).toMatchObject({
      ANTHROPIC_DEFAULT_HAIKU_MODEL: "coder:3b",
      CLAUDE_CODE_MAX_CONTEXT_TOKENS: "40000",
      DISABLE_TELEMETRY: "1",
      NO_PROXY: "corp.example,127.0.0.1,localhost",
    });
    expect(Object.keys(env)).not.toContain("ANTHROPIC_API_KEY");
    expect(Object.keys(env)).not.toContain("CLAUDE_CODE_USE_BEDROCK");
    expect(env["ANTHROPIC_BASE_URL"]).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    // The door knows the token, and has no such route.
    expect(statuses).toEqual([404, 401]);
    expect(JSON.stringify(args)).not.toContain(env["ANTHROPIC_AUTH_TOKEN"]);
    await home.until("the listener is closed", async () => (await home.status()).listeners.length === 0);
  });

  it.each([
    ["codex", (env: Started["env"], args: readonly string[]) => [env["CODEX_OLLM_KEY"], args.join(" ")]],
    ["opencode", (env: Started["env"]) => [env["OPENCODE_OLLM_KEY"], env["OPENCODE_CONFIG_CONTENT"]]],
    ["qwen", (env: Started["env"], args: readonly string[]) => [env["OPENAI_API_KEY"], args.join(" ")]],
    ["cline", (env: Started["env"]) => [env["OPENAI_API_KEY"], env["CLINE_PROVIDER_SETTINGS_PATH"]]],
  ] as const)(
    "gives %s address and model by what is for this run only, and the token by a variable",
    async (name, read) => {
      const { code, started } = await launched([name]);
      expect(code).toBe(7);
      const [token, rest = ""] = read(started.env, started.args);
      expect(token).toBe((await readFile(httpTokenFile(home.home), "utf8")).trim());
      if (name === "cline") await expect(readFile(rest)).rejects.toThrow("ENOENT");
      else expect(rest).toMatch(/http:\/\/127\.0\.0\.1:\d+\/v1.*coder:3b/s);
    },
  );

  it("passes a signal on, and ends as the program did", async () => {
    const words = [builtCommand, "launch", "qwen", "--", "wait"];
    const child = spawn(process.execPath, words, {
      env: { ...home.environment, ...onPath() },
      stdio: ["ignore", "pipe", "ignore"],
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    await once(child.stdout, "data");
    child.kill("SIGTERM");
    expect(await once(child, "exit")).toEqual(process.platform === "win32" ? [null, "SIGTERM"] : [143, null]);
  });

  it("shows with --print what it would start, and names the token's file instead of the token", async () => {
    const before = await readdir(home.folder);
    for (const name of Object.keys(launchPrograms)) {
      const { code, stdout } = await runHere(home, ["launch", name, "--print", "--", "it's"]);
      expect(code).toBe(0);
      expect(stdout).toContain(httpTokenFile(home.home));
      expect(stdout).toContain("coder:3b");
      expect(stdout).not.toContain((await readFile(httpTokenFile(home.home), "utf8")).trim());
      if (process.platform === "win32") continue;
      // A shell reads it as it is meant.
      const lines = stdout.split("\n").filter((line) => !/^(#|FILE:)/.test(line));
      const shell = spawn("sh", ["-c", lines.join("\n")], { env: onPath(), stdio: ["ignore", "pipe", "inherit"] });
      let said = "";
      shell.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
      await once(shell, "close");
      expect((JSON.parse(said.replace(/^$/, "{}")) as Started).args.at(-1)).toBe("it's");
    }
    expect(await readdir(home.folder)).toEqual(before);
  });

  it.each([
    [["claude", "--model", "nosuch"], /nosuch/],
    [["claude", "--model", "mute:3b"], /mute:3b can't call tools, which Claude Code needs/],
    [["claude", "--model", "narrow:3b"], /narrow:3b reads 8,192 tokens at most; Claude Code needs 32,768/],
    [["claude", "--model", "huge:70b"], /huge:70b needs [\d.]+ GB with the 32,768 tokens of context.*are free/],
  ])("refuses %j with the reason", async (words, reason) => {
    const { code, stderr, stdout } = await runHere(home, ["launch", ...words], "", onPath());
    expect(stderr.replaceAll(/\s+/g, " ")).toMatch(reason);
    expect([code, stdout]).toEqual([1, ""]);
  });

  it("says how a program is installed that is not", async () => {
    const { code, stderr } = await runHere(home, ["launch", "codex"], "", { PATH: home.folder });
    expect(stderr).toContain("Codex is not installed");
    expect(stderr).toContain("npm install -g @openai/codex");
    expect(code).toBe(1);
  });

  it("refuses what isn't one of its programs, with those that are", async () => {
    expect((await runHere(home, ["launch", "vim"])).code).toBe(2);
  });

  it("finds on Windows what npm's script would start", () => {
    const found = programAt("codex", launchPrograms.codex, {
      platform: "win32",
      environment: { Path: `C:\\nowhere;${bin}` },
      workingDirectory: home.folder,
    });
    expect(found).toEqual([process.execPath, path.join(bin, "node_modules", "@openai/codex", "cli.mjs")]);
  });
});

it("refuses a model whose first answer would take longer than 20 minutes, unless it is named", async () => {
  const slow = await makeDaemonHome(
    { OLLM_MEMORY_AVAILABLE_BYTES: "400000000000" },
    { models: [{ name: "slow:70b", capabilities: tools, contextTokens: 65_536, sizeBytes: 160 * gib }] },
  );
  onTestFinished(slow.close);
  const refused = await runHere(slow, ["launch", "claude", "--print"]);
  expect(refused.stderr.replaceAll(/\s+/g, " ")).toMatch(
    /the first answer of slow:70b takes too long: .* about \d+ min/,
  );
  expect(refused.stderr.replaceAll(/\s+/g, " ")).toContain("ollm launch claude --model slow:70b");
  const named = await runHere(slow, ["launch", "claude", "--print", "--model", "slow:70b"]);
  expect([named.code, named.stderr.includes("expected, not measured")]).toEqual([0, true]);
});

it("says that no model can call tools, and what to do", async () => {
  const none = await makeDaemonHome({}, { models: [{ name: "mute:3b" }] });
  onTestFinished(none.close);
  const { code, stderr } = await runHere(none, ["launch", "codex", "--print"]);
  expect(stderr).toContain("Codex needs a model that can call tools, and none is installed here");
  expect(code).toBe(1);
});
