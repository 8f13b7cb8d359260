import { lstat, mkdir, mkdtemp, readFile, readdir, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parse as parseToml } from "smol-toml";
import { parse } from "yaml";
import { installAgents, removeAgents } from "../../src/cli/setup/agents.ts";
import { uninstall } from "../../src/cli/setup/uninstall.ts";
import type { CommandIo } from "../../src/cli/terminal/io.ts";
import { profileNames } from "../../src/orchestrator/config/profiles.ts";
import { writeIn } from "../support/run-setup.ts";
import { silentIo } from "../support/silent-io.ts";

let home: string;

beforeEach(async () => {
  home = await realpath(await mkdtemp(join(tmpdir(), "ollm-agents-")));
  await mkdir(join(home, ".claude"));
});
afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

const read = (name: string) => readFile(join(home, name), "utf8");
const files = ["code", "fast", "text"].map((name) => join(".claude", "agents", `ollm-${name}.md`));

/** Every file below the home, with its content. */
async function snapshot(): Promise<Readonly<Record<string, string>>> {
  const names = (await readdir(home, { recursive: true })).toSorted();
  const entries = names.map(async (name) => {
    const isFolder = (await lstat(join(home, name))).isDirectory();
    return [name, isFolder ? "(folder)" : await read(name)] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

type Work = (io: CommandIo) => Promise<number>;
const install =
  (options: Parameters<typeof removeAgents>[0] = {}): Work =>
  (io) =>
    installAgents(options, io);
const remove =
  (options: Parameters<typeof removeAgents>[0] = {}): Work =>
  (io) =>
    removeAgents(options, io);

/** With `answers` there is a terminal. */
async function run(work: Work, answers?: string[], onAsk?: () => Promise<void>) {
  const output = { stdout: "", stderr: "", asked: [] as string[] };
  const code = await work({
    ...silentIo,
    stdout: (text) => void (output.stdout += text),
    stderr: (text) => void (output.stderr += text),
    environment: { OLLM_HOME: join(home, "ollm") },
    workingDirectory: home,
    userHome: home,
    isTerminal: answers !== undefined,
    ask: async (question) => {
      output.asked.push(question);
      await onAsk?.();
      return answers?.shift() ?? "";
    },
  });
  return { code, ...output };
}

describe("ollm agents install", () => {
  test("shows every file, writes nothing before a yes, and then what it showed", async () => {
    const before = await snapshot();
    const refused = await run(install(), [""]);
    expect(refused).toMatchObject({ code: 0, asked: ["Write these 3 files? [y/N] "] });
    expect(refused.stdout).toContain("+model: ollm/fast\n");
    expect(refused.stdout).toContain("the address of ollm serve");
    expect(refused.stdout).toMatch(/Nothing was changed\.\n$/);
    expect(await run(install())).toMatchObject({ code: 2, stderr: expect.stringContaining("--yes") });
    expect(await run(install({ print: true }))).toMatchObject({ code: 0, asked: [] });
    expect(await snapshot()).toEqual(before);

    const { code, stdout, stderr } = await run(install(), ["y"], async () => expect(await snapshot()).toEqual(before));
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (const file of files) {
      for (const line of (await read(file)).trimEnd().split("\n")) expect(stdout).toContain(`+${line}`);
    }
    expect(await run(install(), [])).toMatchObject({ code: 0, asked: [] });
  });

  test("front matter that Claude Code reads: a name, when to hand over, tools and a profile that exists", async () => {
    await run(install({ yes: true }));
    for (const file of files) {
      const head = parse((await read(file)).split("---\n")[1] ?? "") as Record<string, string>;
      expect(Object.keys(head)).toEqual(["name", "description", "tools", "model"]);
      expect(file).toContain(`${head["name"]}.md`);
      expect(head["description"]).toContain("local model");
      expect(head["tools"]).not.toContain("Bash");
      expect(profileNames()).toContain(head["model"]?.replace("ollm/", ""));
    }
  });

  test("leaves a file of that name that it didn't write, and one that was edited", async () => {
    const [code = "", fast = ""] = files;
    await writeIn(home, code, "---\nname: ollm-code\n---\nMine\n");
    await run(install({ yes: true }));
    await writeIn(home, fast, (await read(fast)).replace("Grep, ", ""));
    const before = await snapshot();
    const { code: exit, stdout } = await run(install({ yes: true }));
    expect(exit).toBe(0);
    expect(stdout).toContain(`${join(home, fast)} was edited by hand; it is not changed`);
    expect(await snapshot()).toEqual(before);
    const removed = await run(remove({ yes: true }));
    expect(removed).toMatchObject({ code: 1, stdout: expect.stringContaining("the agent was edited; not changed") });
    expect(Object.keys(await snapshot()).filter((name) => name.endsWith(".md"))).toEqual([code, fast]);
  });

  test("roles that Codex reads, where it keeps its files, beside agents of Claude Code only if that is there", async () => {
    await mkdir(join(home, ".codex"));
    expect(await run(install(), ["n"])).toMatchObject({ asked: ["Write these 6 files? [y/N] "] });
    await rm(join(home, ".claude"), { recursive: true });
    const before = await snapshot();
    await run(install({ yes: true }));
    const roles = ["code", "fast", "text"].map(
      (name) => [name, join(".codex", "agents", `ollm-${name}.toml`)] as const,
    );
    expect(Object.keys(await snapshot()).filter((name) => /[.](md|toml)$/.test(name))).toEqual(
      roles.map(([, file]) => file),
    );
    for (const [name, file] of roles) {
      const role = parseToml(await read(file));
      expect(role).toMatchObject({ name: `ollm-${name}`, model: `ollm/${name}`, model_reasoning_effort: "none" });
      // It refuses a role without one of them.
      expect(role["description"]).toContain("local model");
      expect(role["developer_instructions"]).toMatch(/^\S.*\n$/s);
    }
    expect(await run(install(), [])).toMatchObject({ code: 0, asked: [] });
    const edited = roles[1]?.[1] ?? "";
    const text = await read(edited);
    await writeIn(home, edited, text.replace("ollm/fast", "gpt"));
    expect((await run(install({ yes: true }))).stdout).toContain("was edited by hand; it is not changed");
    await writeIn(home, edited, text);
    await run(remove({ yes: true }));
    expect(await snapshot()).toEqual(before);
  });

  test("without Claude Code and Codex says so and creates no folder", async () => {
    await rm(join(home, ".claude"), { recursive: true });
    await expect(run(install({ yes: true }))).rejects.toThrow("neither Claude Code nor Codex was found");
    expect(await snapshot()).toEqual({});
  });
});

describe("ollm agents remove", () => {
  test("takes back exactly what install made, after a yes", async () => {
    await writeIn(home, join(".claude", "settings.json"), "{}");
    const before = await snapshot();
    await run(install({ yes: true }));
    const filled = await snapshot();
    expect(await run(remove(), ["n"])).toMatchObject({ code: 0, asked: ["Remove this? [y/N] "] });
    expect(await run(remove())).toMatchObject({ code: 2 });
    expect((await run(remove({ print: true }))).stdout).toContain("created by ollm; will be deleted");
    expect(await snapshot()).toEqual(filled);
    expect(await run(remove(), ["y"])).toMatchObject({ code: 0, stderr: "" });
    expect(await snapshot()).toEqual(before);
    expect((await run(remove())).stdout).toBe("There are no agent files of ollm.\n");
  });

  test("keeps other agents and their folder", async () => {
    await writeIn(home, join(".claude", "agents", "mine.md"), "Mine\n");
    const before = await snapshot();
    await run(install({ yes: true }));
    await run(remove({ yes: true }));
    expect(await snapshot()).toEqual(before);
  });

  test("ollm uninstall takes them back, too", async () => {
    const before = await snapshot();
    await run(install({ yes: true }));
    const stopDaemon = () => Promise.resolve(0);
    expect(await run((io) => uninstall({ yes: true }, io, { stopDaemon }))).toMatchObject({ code: 0 });
    expect(await snapshot()).toEqual(before);
  });
});
