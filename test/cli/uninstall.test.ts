import { mkdir, mkdtemp, readFile, readdir, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { uninstall } from "../../src/cli/setup/uninstall.ts";
import { withGuide } from "../../src/cli/setup/guide-plan.ts";
import { homeContent } from "../../src/cli/setup/program-files.ts";
import type { CommandIo } from "../../src/cli/terminal/io.ts";

let user: string;

beforeEach(async () => {
  user = await realpath(await mkdtemp(join(tmpdir(), "ollm-uninstall-")));
  await write(".ollm/config.yaml", "privacy: local_only\n");
  await write(".ollm/models/manifests/m", "manifest");
  await write(".ollm/models/blobs/b", "x".repeat(2_000));
  await write(".ollm/app/1.0.0/cli.mjs", "");
  await write(".ollm/run/token", "t");
  await write(".cursor/mcp.json", '{"mcpServers":{"a":{}, "ollm":{"command":"npx","args":["-y","ollm-mcp"]}}}');
});
afterEach(async () => {
  await rm(user, { recursive: true, force: true });
});

async function write(name: string, text: string): Promise<void> {
  const file = join(user, name);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
}

async function run(
  options: Parameters<typeof uninstall>[0],
  given: { readonly answers?: readonly string[]; readonly home?: string; readonly stopped?: number } = {},
) {
  const output = { stdout: "", stderr: "", asked: [] as string[], stops: 0 };
  const answers = [...(given.answers ?? [])];
  const io: CommandIo = {
    stdout: (text) => void (output.stdout += text),
    content: (text) => void (output.stdout += text),
    stderr: (text) => void (output.stderr += text),
    environment: given.home === undefined ? {} : { OLLM_HOME: given.home },
    workingDirectory: user,
    userHome: user,
    platform: "linux",
    isTerminal: given.answers !== undefined,
    ask: async (question) => {
      output.asked.push(question);
      return answers.shift() ?? "";
    },
    node: process.execPath,
    script: join(user, "cli.mjs"),
  };
  const stopDaemon = async (): Promise<number> => {
    output.stops += 1;
    return given.stopped ?? 0;
  };
  const code = await uninstall(options, io, { stopDaemon });
  return { code, ...output };
}

const entries = async (name: string) => (await readdir(join(user, name))).toSorted();

describe("ollm uninstall", () => {
  test("takes the entries out, ends the daemon, removes what runs, and keeps models and settings", async () => {
    const { code, stdout, stops } = await run({ yes: true });
    expect({ code, stops }).toEqual({ code: 0, stops: 1 });
    expect(await readFile(join(user, ".cursor/mcp.json"), "utf8")).toBe('{"mcpServers":{"a":{}}}');
    expect(await entries(".ollm")).toEqual(["config.yaml", "models"]);
    expect(stdout).toContain("--purge deletes them");
  });

  test("takes the guide out, too, even of a client without an entry", async () => {
    await write(".codex/AGENTS.md", withGuide("# Mine\n", "section"));
    const { code, stdout } = await run({ yes: true });
    expect(code).toBe(0);
    expect(stdout).toContain("✓ Codex: removed from");
    expect(await readFile(join(user, ".codex/AGENTS.md"), "utf8")).toBe("# Mine\n");
  });

  test("a file that can't be parsed is an error only if it may contain an ollm entry", async () => {
    await write(".gemini/settings.json", "{,");
    expect((await run({ yes: true })).code).toBe(0);
    await write(".gemini/settings.json", '{, "ollm"');
    const { code, stdout } = await run({ yes: true });
    expect(code).toBe(1);
    expect(stdout).toContain("settings.json:1:2: ");
  });

  test("without anybody to ask, or without a yes, nothing happens", async () => {
    const unasked = await run({ purge: true });
    expect(unasked).toMatchObject({ code: 2, stops: 0 });
    expect(unasked.stderr).toContain("--yes");
    expect(await run({ purge: true }, { answers: ["n"] })).toMatchObject({ code: 0, stops: 0 });
    expect(await entries(".ollm")).toEqual(["app", "config.yaml", "models", "run"]);
    expect(await readFile(join(user, ".cursor/mcp.json"), "utf8")).toContain("ollm");
  });

  test("--purge lists what it will delete with sizes, asks, and deletes the home", async () => {
    const { code, stdout, asked } = await run({ purge: true }, { answers: ["y"] });
    expect(code).toBe(0);
    expect(asked).toEqual(["Uninstall and delete all of this? [y/N] "]);
    expect(stdout).toMatch(/2\.0 kB {2}.*models {2}models/);
    expect(await entries(".")).toEqual([".cursor"]);
  });

  test("--purge deletes a home in another place that a daemon has used", async () => {
    await write("data/logs/daemon.log", "started");
    await run({ purge: true, yes: true }, { home: join(user, "data") });
    expect(await entries(".")).toEqual([".cursor", ".ollm"]);
  });

  test("--purge leaves what ollm did not put into the home, and says so", async () => {
    await write(".ollm/photos/a.jpg", "a");
    const { stdout } = await run({ purge: true, yes: true });
    expect(stdout).toContain("except photos");
    expect(await entries(".ollm")).toEqual(["photos"]);
  });

  test("a daemon that won't end keeps its files", async () => {
    const { code, stderr } = await run({ purge: true, yes: true }, { stopped: 1 });
    expect(code).toBe(1);
    expect(stderr).toContain("could not be stopped");
    expect(await entries(".ollm")).toEqual(["app", "config.yaml", "models", "run"]);
  });

  test("a home that isn't there is nothing to delete", async () => {
    await rm(join(user, ".ollm"), { recursive: true });
    expect((await run({ purge: true, yes: true })).code).toBe(0);
  });
});

test("--purge deletes every document with its journal, and what a broken one left", async () => {
  const names = ["memory", "preferences", "trust", "comparisons", "learned", "loads"];
  for (const name of names)
    for (const ending of [".json", ".journal", ".json.broken-2026-11-21T10-00-00-000Z-ab12"])
      await write(`.ollm/${name}${ending}`, "{}");
  await write(".ollm/.memory.json.tmp", "{");
  await write(".ollm/learned-by-heart.json", "mine");
  await run({ purge: true, yes: true });
  expect(await entries(".ollm")).toEqual(["learned-by-heart.json"]);
});

describe("a home that --purge refuses, before anything is changed", () => {
  test.each([
    ["the user's home", () => user],
    ["what is above it", () => dirname(user)],
    ["a drive", () => "/"],
    ["a file", () => join(user, ".ollm/config.yaml")],
  ])("%s", async (_name, home) => {
    await expect(run({ purge: true, yes: true }, { home: home() })).rejects.toThrow(/is not a folder of ollm/);
    expect(await readFile(join(user, ".cursor/mcp.json"), "utf8")).toContain("ollm");
  });

  test("a folder with none of our files, be it another engine's", async () => {
    await write("work/models/manifests/m", "x");
    await write("work/app/main.py", "x");
    await write("work/config.yaml", "x");
    await write("work/logs/server.log", "x");
    await expect(run({ purge: true, yes: true }, { home: join(user, "work") })).rejects.toThrow(
      "does not look like a home of ollm",
    );
    expect(await entries("work")).toEqual(["app", "config.yaml", "logs", "models"]);
  });

  test.skipIf(process.platform === "win32")("a link to the user's home", async () => {
    await symlink(user, join(user, "link"));
    await expect(homeContent(join(user, "link"), user)).rejects.toThrow(/is not a folder of ollm/);
  });
});

test.skipIf(process.platform === "win32")(
  "--purge deletes a link to models on another disk, not the models",
  async () => {
    await rm(join(user, ".ollm/models"), { recursive: true });
    await write("disk/manifests/m", "m");
    await symlink(join(user, "disk"), join(user, ".ollm/models"));
    await run({ purge: true, yes: true });
    expect(await entries("disk")).toEqual(["manifests"]);
  },
);
