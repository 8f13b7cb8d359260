import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { checkLaunch } from "../../../src/cli/setup/check-clients.ts";
import { isRunning } from "../../support/is-running.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-check-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** A server of which `answer` is the body of a function of a message; its pid goes to a file. */
async function start(answer: string, before = "", timeoutMs = 10_000) {
  const script = join(folder, "cli.mjs");
  await writeFile(
    script,
    `import { createInterface } from "node:readline";
import { writeFileSync } from "node:fs";
writeFileSync(${JSON.stringify(join(folder, "seen.json"))}, JSON.stringify({ cwd: process.cwd(), env: process.env, pid: process.pid }));
${before}
const say = (message) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\\n");
createInterface({ input: process.stdin }).on("line", (line) => { const { id, method } = JSON.parse(line); ${answer} });
`,
  );
  const machine = {
    platform: process.platform,
    userHome: folder,
    environment: { ...process.env, PATH: "/from/the/shell", SECRET: "no" },
  };
  const launch = { command: process.execPath, args: [script], env: { OLLM_HOME: "/data" } };
  return checkLaunch(launch, machine, timeoutMs);
}

async function seen(): Promise<{ cwd: string; env: Record<string, string>; pid: number }> {
  const { readFile } = await import("node:fs/promises");
  return JSON.parse(await readFile(join(folder, "seen.json"), "utf8")) as Awaited<ReturnType<typeof seen>>;
}

const good = `
  if (method === "initialize") say({ id, result: { protocolVersion: "2025-06-18", capabilities: {}, serverInfo: { name: "x", version: "9.9" } } });
  if (method === "tools/list") say({ id, result: { tools: [{ name: "a" }, { name: "b" }] } });`;

describe("checking an entry", () => {
  test("answers with tools, started in the root folder with a bare environment", async () => {
    expect(await start(good)).toMatchObject({ ok: true, tools: ["a", "b"] });
    const { cwd, env, pid } = await seen();
    if (process.platform !== "win32") {
      expect(cwd).toBe("/");
      expect(env).toMatchObject({ PATH: "/usr/bin:/bin", HOME: folder, OLLM_HOME: "/data" });
    }
    expect(env).not.toHaveProperty("SECRET");
    expect(isRunning(pid)).toBe(false);
  });

  test("a missing program is reported by name", async () => {
    const machine = { platform: process.platform, userHome: folder, environment: {} };
    expect(await checkLaunch({ command: join(folder, "nothing"), args: [] }, machine)).toMatchObject({
      ok: false,
      reason: expect.stringContaining(join(folder, "nothing")),
    });
  });

  test("a program that exits early is reported with its output", async () => {
    expect(await start("", 'console.error("--root /gone is not a folder"); process.exit(3);')).toMatchObject({
      ok: false,
      reason: expect.stringMatching(/exit code 3[^]*--root \/gone is not a folder/),
    });
  });

  test("output that is not JSON is a failure, since clients close such servers", async () => {
    expect(await start(good, 'console.log("hello");')).toMatchObject({
      ok: false,
      reason: expect.stringContaining("is not JSON-RPC: hello"),
    });
  });

  test("an error and a list without tools are failures", async () => {
    expect(await start('say({ id, error: { code: 1, message: "no home" } });')).toMatchObject({
      ok: false,
      reason: expect.stringContaining("no home"),
    });
    expect(await start(good.replace(/\[\{.*\}\]/, "[]"))).toMatchObject({ ok: false, reason: "it lists no tools" });
  });

  test("a program that does not respond is stopped", async () => {
    const result = await start("", "setInterval(() => {}, 1000);", 300);
    expect(result).toMatchObject({ ok: false, reason: "no response within 0.3 s" });
    expect(isRunning((await seen()).pid)).toBe(false);
  });
});
