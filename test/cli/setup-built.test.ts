import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, readdir, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { checkLaunch } from "../../src/cli/setup/check-clients.ts";
import type { Launch } from "../../src/cli/setup/launch.ts";
import { builtCommand, serverEnvironment } from "../support/stdio-client.ts";

/** The built command on a machine whose home is a temporary folder: Linux's locations, whatever runs the tests. */
let home: string;

beforeEach(async () => {
  home = await realpath(await mkdtemp(join(tmpdir(), "ollm-setup-")));
  await mkdir(join(home, "Documents"));
});
afterEach(async () => {
  await ollm(["daemon", "stop"]);
  await rm(home, { recursive: true, force: true, maxRetries: 5 });
});

function ollm(
  words: readonly string[],
  script = builtCommand,
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const env = serverEnvironment({ HOME: home, USERPROFILE: home, OLLAMA_HOST: "127.0.0.1:9" });
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [script, ...words], { env, timeout: 60_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr });
    });
    child.stdin?.end();
  });
}

async function write(name: string, text: string): Promise<string> {
  const file = join(home, name);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
  return file;
}

const read = (name: string) => readFile(join(home, name), "utf8");

async function launchOf(name: string): Promise<Launch> {
  const { mcpServers } = JSON.parse(await read(name)) as { mcpServers: { ollm: Launch } };
  return mcpServers.ollm;
}

const startAsClient = (launch: Launch) =>
  checkLaunch(launch, { platform: process.platform, userHome: home, environment: {} });

// The clients of other platforms keep their files elsewhere; the table's tests cover those.
describe.skipIf(process.platform !== "linux")("the built set-up", () => {
  test("sets up, starts as the client would, says so again, and leaves every byte when it is uninstalled", async () => {
    const originals = {
      ".config/Claude/claude_desktop_config.json": '{\r\n\t"globalShortcut": "x"\r\n}',
      ".config/zed/settings.json": "// mine\n{ /* a */ }\n",
      ".codex/config.toml": "# c\nmodel = 'x'",
      ".codex/AGENTS.md": "# Mine\r\n\r\n- tabs",
    };
    for (const [name, text] of Object.entries(originals)) await write(name, text);

    const first = await ollm(["setup", "--yes", "--guide", "--root", join(home, "Documents")]);
    expect(first).toMatchObject({ code: 0, stderr: "" });
    expect(first.stdout).toMatch(/✓ Claude Desktop: set up; starts in \d+ ms and offers \d+ tools/);
    expect(first.stdout).toContain("✓ Codex: guide written in");
    const launch = await launchOf(".config/Claude/claude_desktop_config.json");
    expect(launch).toMatchObject({
      command: expect.stringMatching(/^\/.*node$/),
      args: [expect.stringMatching(/^\/.*\/cli\.mjs$/), "--root", join(home, "Documents")],
    });

    const second = await ollm(["setup"]);
    expect(second.code).toBe(0);
    for (const name of ["Claude Desktop", "Codex", "Zed"]) expect(second.stdout).toContain(`✓ ${name}: already set up`);

    const last = await ollm(["uninstall", "--purge", "--yes"]);
    expect(last).toMatchObject({ code: 0, stderr: "" });
    for (const [name, text] of Object.entries(originals)) expect(await read(name)).toBe(text);
    expect((await readdir(home)).toSorted()).toEqual([".codex", ".config", "Documents"]);
  });

  test("what it writes from a cache of npx still starts when that cache is gone", async () => {
    const cache = join(home, ".npm", "_npx", "1f", "node_modules", "ollm-mcp", "dist");
    await cp(dirname(builtCommand), cache, { recursive: true });
    await mkdir(join(home, ".cursor"));
    const { code, stdout } = await ollm(["setup", "--yes"], join(cache, "cli.mjs"));
    expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining("Copied the program") });
    const launch = await launchOf(".cursor/mcp.json");
    expect(launch.args[0]).toMatch(/\.ollm\/app\/[^/]+\/cli\.mjs$/);

    await ollm(["daemon", "stop"]);
    await rm(join(home, ".npm"), { recursive: true });
    expect(await startAsClient(launch)).toMatchObject({ ok: true });

    expect((await ollm(["uninstall", "--yes"])).code).toBe(0);
    expect(await readdir(join(home, ".ollm"))).not.toContain("app");
  });

  test("an entry that does not start the server is not kept", async () => {
    const text = '{"mcpServers":{"ollm":{"command":"npx","args":["-y","ollm-mcp","--nonsense"]}}}';
    await write(".cursor/mcp.json", text);
    const { code, stderr } = await ollm(["setup", "--yes"]);
    expect(code).toBe(1);
    expect(stderr).toContain("--nonsense");
    expect(stderr).toContain("the change was undone");
    expect(await read(".cursor/mcp.json")).toBe(text);
  });

  test("without a terminal it changes nothing and exits with 2; with wrong arguments, too", async () => {
    await mkdir(join(home, ".cursor"));
    expect(await ollm(["setup"])).toMatchObject({ code: 2, stderr: expect.stringContaining("--yes") });
    expect(await ollm(["setup", "--client", "cursr"])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("Did you mean cursor?"),
    });
    expect(await readdir(join(home, ".cursor"))).toEqual([]);
  });
});
