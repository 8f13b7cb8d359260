import { chmod, lstat, mkdir, mkdtemp, readFile, readdir, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { guideIn, withGuide } from "../../src/cli/setup/guide-plan.ts";
import { clientTable } from "../../src/cli/setup/clients.ts";
import { olderGuide } from "../support/older-guide.ts";
import { type SetupGiven, runSetup, writeIn } from "../support/run-setup.ts";

let home: string;

beforeEach(async () => {
  home = await realpath(await mkdtemp(join(tmpdir(), "ollm-delegation-")));
  await write("installed/dist/cli.mjs", "");
});
afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

const write = (name: string, text: string) => writeIn(home, name, text);
const read = (name: string) => readFile(join(home, name), "utf8");
const run = (options: Parameters<typeof runSetup>[1], given: SetupGiven = {}) => runSetup(home, options, given);

/** Every file below the home, with its content. */
async function snapshot(): Promise<Readonly<Record<string, string>>> {
  const names = await readdir(home, { recursive: true });
  const files: Record<string, string> = {};
  for (const name of names.toSorted()) {
    files[name] = (await lstat(join(home, name))).isDirectory() ? "(folder)" : await read(name);
  }
  return files;
}

describe("the plugin", () => {
  const hooks = { codex: ".codex/hooks.json", "claude-code": ".claude/skills/ollm/hooks/hooks.json" } as const;

  test("comes with the guide for Claude Code and Codex alone, and goes to the byte", async () => {
    for (const folder of [".claude", ".codex", ".cursor"]) await mkdir(join(home, folder));
    const before = await snapshot();
    const added = await run({ plugin: true, yes: true });
    expect(added).toMatchObject({ code: 0, stderr: "", asked: [] });
    const after = Object.keys(await snapshot());
    expect(after).toEqual(
      expect.arrayContaining([...Object.values(hooks), ".claude/skills/ollm/.claude-plugin/plugin.json"]),
    );
    expect(after).not.toContain(".cursor/mcp.json");
    const { hooks: asked } = JSON.parse(await read(hooks.codex)) as { hooks: { PreToolUse: { hooks: object[] }[] } };
    const command = expect.stringMatching(/^"[^"]+" "[^"]+cli\.mjs" hook$/) as string;
    expect(asked.PreToolUse[0]?.hooks).toEqual([{ type: "command", command, timeout: 5 }]);

    const filled = await snapshot();
    expect((await run({ plugin: true, yes: true })).stdout).toContain("plugin up to date");
    expect(await snapshot()).toEqual(filled);

    expect(await run({ undo: true, plugin: true, yes: true })).toMatchObject({ code: 0, stderr: "" });
    expect(Object.keys(await snapshot())).toEqual(after.filter((name) => !/plugin|hooks/.test(name)));
    expect(await run({ plugin: true, yes: true })).toMatchObject({ code: 0 });
    expect(await run({ undo: true, yes: true })).toMatchObject({ code: 0, stderr: "" });
    expect(await snapshot()).toEqual(before);
  });

  test("tells its hook of a home that is not the usual one", async () => {
    await mkdir(join(home, ".codex"));
    const other = join(home, "other home");
    await run({ client: ["codex"], plugin: true, yes: true }, { environment: { OLLM_HOME: other } });
    expect(await read(hooks.codex)).toContain(String.raw`cli.mjs\" hook \"${other}\""`);
  });

  test("leaves a file of hooks that the user has", async () => {
    await write(hooks.codex, '{ "hooks": {} }\n');
    const added = await run({ client: ["codex"], plugin: true, yes: true });
    expect(added.stdout).toContain("edited by hand; it is not changed");
    expect(await read(hooks.codex)).toBe('{ "hooks": {} }\n');
  });

  test("is not written where it can't be asked about", async () => {
    await mkdir(join(home, ".codex"));
    await run({ client: ["codex"], yes: true });
    const refused = await run({ client: ["codex"], plugin: true });
    expect(refused.code).toBe(1);
    expect(refused.stdout).toContain("setup --plugin --yes");
    expect(Object.keys(await snapshot())).not.toContain(hooks.codex);
  });

  test("follows the program without being asked for again", async () => {
    await mkdir(join(home, ".codex"));
    await run({ client: ["codex"], plugin: true, yes: true });
    const now = await read(hooks.codex);
    const older = guideIn('hook "/old/node" "/old/cli.mjs" hook');
    await write(hooks.codex, older);
    expect((await run({ client: ["codex"], yes: true })).stdout).toContain("plugin updated in");
    expect(await read(hooks.codex)).toBe(now);
  });
});

const clients = clientTable({ platform: "linux", userHome: "", environment: {} });
const withFile = clients.flatMap(({ id, locations }) =>
  locations.flatMap(({ file, guide }) =>
    guide.kind === "paste" ? [] : [{ id, settings: file, guide: guide.file, form: guide.kind }],
  ),
);

describe.each(withFile)("the guide of $id in $guide", ({ id, settings, guide, form }) => {
  const originals = form === "section" ? [undefined, "", "# Mine\r\n\r\n- tabs", "\uFEFF# Mine\n"] : [undefined];

  test.each(originals)("comes, is updated and goes, and leaves every byte of %j", async (original) => {
    await mkdir(join(home, ".claude"));
    await write(settings, "");
    if (original !== undefined) await write(guide, original);
    const before = await snapshot();
    const added = await run({ client: [id], yes: true, guide: true });
    expect(added).toMatchObject({ code: 0, stderr: "", asked: [] });
    expect(added.stdout).toContain(`guide written in ${join(home, guide)}`);
    const current = await read(guide);
    const [mark = ""] = /<!-- ollm guide .{8}/.exec(guideIn(form)) ?? [];
    expect(current).toContain(mark);
    expect(current.startsWith(original ?? "")).toBe(true);

    const filled = await snapshot();
    const again = await run({ client: [id], yes: true, guide: true });
    expect(again.stdout).toContain("guide up to date");
    expect(await snapshot()).toEqual(filled);

    const newline = current.includes("\r\n") ? "\r\n" : "\n";
    const [now, older] = [guideIn(form), olderGuide(form)].map((text) => text.replaceAll("\n", newline));
    await write(guide, current.replace(now ?? "", older ?? ""));
    const updated = await run({ client: [id], yes: true });
    expect(updated.stdout).toContain(`guide updated in ${join(home, guide)}`);
    expect(await read(guide)).toBe(current);

    expect(await run({ client: [id], undo: true, yes: true })).toMatchObject({ code: 0, stderr: "" });
    expect(await snapshot()).toEqual(before);
  });
});

describe("the question", () => {
  test("comes after the entries, shows the text once and each place, and writes nothing for an empty answer", async () => {
    for (const folder of [".claude", ".cursor", ".codex", ".config/Claude"]) {
      await mkdir(join(home, folder), { recursive: true });
    }
    await write(".codex/AGENTS.md", "# Mine\n");
    const { code, stdout, asked } = await run({}, { answers: ["", "", "y", ""] });
    expect(code).toBe(0);
    expect(asked.at(-1)).toBe("Write the guide into these 3 files? [y/N] ");
    expect(stdout.match(/Hand over with `route_and_generate`/g)).toHaveLength(1);
    expect(stdout).toContain("+name: ollm\n");
    expect(stdout).toContain(" # Mine\n+\n+<!-- ollm guide");
    expect(stdout).toMatch(/\n\+… \(the guide, \d+ lines\)\n\+<!-- end of ollm guide -->\n/);
    expect(stdout).toContain('Claude Desktop: paste the guide into "Instructions for Claude" in its settings.');
    expect(stdout).toContain("setup --guide\n");
    expect(await read(".codex/AGENTS.md")).toBe("# Mine\n");
    expect(await readdir(join(home, ".claude"))).toEqual([]);
  });

  test("a yes writes the files, keeps a backup, and names both", async () => {
    await write(".codex/AGENTS.md", "# Mine\n");
    const { stdout } = await run({}, { answers: ["", "y", "y"] });
    expect(stdout).toContain(`✓ Codex: guide written in ${join(home, ".codex/AGENTS.md")}\n  backup: `);
    expect(await read(".codex/AGENTS.md")).toBe(withGuide("# Mine\n", "section"));
  });

  test("is not asked when no client is new; a line says how to add the guide", async () => {
    await mkdir(join(home, ".codex"));
    await run({ yes: true });
    const { asked, stdout } = await run({}, { answers: [] });
    expect(asked).toEqual([]);
    expect(stdout).toContain("To tell these assistants when to use local models: ");
  });

  test("is asked again for a guide of an earlier version, which is shown as a diff", async () => {
    await mkdir(join(home, ".codex"));
    await run({ yes: true });
    await write(".codex/AGENTS.md", `${olderGuide("section")}\n`);
    const { asked, stdout } = await run({}, { answers: ["y"] });
    expect(asked).toEqual(["Update the guide in this file? [y/N] "]);
    expect(stdout).toContain("-- Check it:");
    expect(stdout).toContain("+- Check before use:");
    expect(await read(".codex/AGENTS.md")).toBe(withGuide("", "section"));
  });

  test("is not asked where every client keeps the text itself", async () => {
    await mkdir(join(home, ".config/Claude"), { recursive: true });
    const { asked, stdout } = await run({}, { answers: ["", "y"] });
    expect(asked).toHaveLength(2);
    expect(stdout).toContain("Hand over with `route_and_generate`");
    expect(stdout).toContain("Claude Desktop: paste the guide into");
  });

  test("is not asked for a client that can't start ollm", async () => {
    await mkdir(join(home, ".codex"));
    const check = () => ({ ok: false, reason: "no answer" }) as const;
    const { asked } = await run({}, { answers: ["", "y", "y"], check });
    expect(asked).toHaveLength(2);
    expect(await readdir(join(home, ".codex"))).toEqual([]);
  });
});

describe("the flags", () => {
  beforeEach(() => mkdir(join(home, ".codex")));

  test("--yes adds no guide and says how to", async () => {
    const { code, stdout } = await run({ yes: true });
    expect(code).toBe(0);
    expect(stdout).toContain("setup --guide\n");
    expect(await readdir(join(home, ".codex"))).toEqual(["config.toml"]);
  });

  test("--no-guide neither asks nor tells", async () => {
    const { asked, stdout } = await run({ guide: false }, { answers: ["", "y"] });
    expect(asked).toHaveLength(2);
    expect(stdout).not.toContain("guide");
  });

  test("--print shows the text and the place, and writes nothing", async () => {
    const before = await snapshot();
    const { code, stdout } = await run({ print: true });
    expect(code).toBe(0);
    expect(stdout).toContain("Setup offers this guide, too");
    expect(stdout).toContain(`+++ ${join(home, ".codex/AGENTS.md")}`);
    expect(await snapshot()).toEqual(before);
  });

  test("without a client, --guide prints the text to paste", async () => {
    await rm(join(home, ".codex"), { recursive: true });
    const { stdout } = await run({ guide: true });
    expect(stdout).toContain("For another client, paste this guide into its instructions:");
    expect(stdout).toContain("Hand over with `route_and_generate`");
  });

  test("--undo --guide removes the guide alone, --undo --no-guide the entry alone", async () => {
    await run({ yes: true, guide: true });
    const [entry, guide] = [await read(".codex/config.toml"), await read(".codex/AGENTS.md")];
    await run({ undo: true, guide: true, yes: true });
    expect(await readdir(join(home, ".codex"))).toEqual(["config.toml"]);
    expect(await read(".codex/config.toml")).toBe(entry);
    expect((await run({ undo: true, guide: true, yes: true })).stdout).toBe("No client has the guide.\n");

    await run({ guide: true });
    await run({ undo: true, guide: false, yes: true });
    expect(await readdir(join(home, ".codex"))).toEqual(["AGENTS.md"]);
    expect(await read(".codex/AGENTS.md")).toBe(guide);
  });

  test("--undo shows one line in place of the guide, and no change of the last line of the user's own", async () => {
    await write(".codex/AGENTS.md", "# Ours\r\n# Mine");
    await run({ yes: true, guide: true });
    const { stdout } = await run({ undo: true, print: true });
    expect(stdout).toMatch(/ # Ours\n # Mine\n-\n-<!-- ollm guide .*\n-… \(the guide, \d+ lines\)\n-<!-- end/);
    expect(stdout).not.toContain("Hand over");
  });

  test("--undo --client leaves the guides of other clients", async () => {
    await mkdir(join(home, ".gemini"));
    await run({ yes: true, guide: true });
    await run({ undo: true, client: ["codex"], yes: true });
    expect(await readdir(join(home, ".codex"))).toEqual([]);
    expect(await read(".gemini/GEMINI.md")).toBe(withGuide("", "section"));
  });
});

describe("what the user has", () => {
  test("an edited section is left, by an update and by undo, and both say so", async () => {
    await mkdir(join(home, ".codex"));
    const edited = `# Mine\n\n${guideIn("section").replace("private,", "secret,")}\n`;
    await write(".codex/AGENTS.md", edited);
    const added = await run({ yes: true, guide: true });
    expect(added.code).toBe(0);
    expect(added.stdout).toContain(`! Codex: ${join(home, ".codex/AGENTS.md")} was edited by hand`);
    const undone = await run({ undo: true, yes: true });
    expect(undone.code).toBe(1);
    expect(undone.stdout).toContain("the guide was edited; not changed\n    Remove it by hand.");
    expect(await read(".codex/AGENTS.md")).toBe(edited);
  });

  test("a skill of that name that setup didn't write is left, and undo doesn't touch it", async () => {
    await write(".claude/skills/ollm/SKILL.md", "---\nname: ollm\n---\nMine.\n");
    await run({ yes: true, guide: true });
    expect((await run({ undo: true, yes: true })).code).toBe(0);
    expect(await read(".claude/skills/ollm/SKILL.md")).toBe("---\nname: ollm\n---\nMine.\n");
  });

  test("other files in the skill's folder stay", async () => {
    await write(".claude/skills/ollm/notes.md", "mine");
    await run({ yes: true, guide: true });
    await run({ undo: true, yes: true });
    expect(await readdir(join(home, ".claude/skills/ollm"))).toEqual(["notes.md"]);
  });

  test("what was added around the section since stays", async () => {
    await write(".gemini/GEMINI.md", "# A\n");
    await run({ yes: true, guide: true });
    await write(".gemini/GEMINI.md", `${await read(".gemini/GEMINI.md")}\n# B\n`);
    await run({ undo: true, yes: true });
    expect(await read(".gemini/GEMINI.md")).toBe("# A\n\n# B\n");
  });

  test("Codex's override file gets the section if it has text, since Codex reads nothing else then", async () => {
    await write(".codex/AGENTS.override.md", "# Now\n");
    await write(".codex/AGENTS.md", "# Mine\n");
    await run({ yes: true, guide: true });
    expect(await read(".codex/AGENTS.md")).toBe("# Mine\n");
    expect(await read(".codex/AGENTS.override.md")).toBe(withGuide("# Now\n", "section"));
    await run({ undo: true, yes: true });
    expect(await read(".codex/AGENTS.override.md")).toBe("# Now\n");
  });

  test("a file that would be too long for its client is not written", async () => {
    const text = "x".repeat(5_500);
    await write(".codeium/windsurf/memories/global_rules.md", text);
    const { code, stdout } = await run({ yes: true, guide: true });
    expect(code).toBe(1);
    expect(stdout).toMatch(/global_rules.md would have \d+ characters, and Windsurf .* reads only 6000/);
    expect(await read(".codeium/windsurf/memories/global_rules.md")).toBe(text);
  });

  test.each([
    ["read-only", async (file: string) => chmod(file, 0o444), "is read-only"],
    ["not UTF-8", async (file: string) => writeFile(file, Buffer.from([0xff, 0xfe, 0x41])), "is not UTF-8 text"],
    ["a folder", async (file: string) => rm(file).then(() => mkdir(file)), "is a folder"],
  ])("a file that is %s is reported, and other clients get the guide", async (_what, spoil, message) => {
    await spoil(await write(".codex/AGENTS.md", "# Mine\n"));
    await mkdir(join(home, ".gemini"));
    const { code, stdout } = await run({ yes: true, guide: true });
    expect(code).toBe(1);
    expect(stdout).toContain(message);
    expect(stdout).toContain("✓ Gemini CLI: guide written");
  });

  test("what another program writes during the question is kept", async () => {
    const file = await write(".codex/AGENTS.md", "# Mine\n");
    let questions = 0;
    const onAsk = async (): Promise<void> => {
      questions += 1;
      if (questions === 3) await writeFile(file, "# Theirs\n");
    };
    await run({}, { answers: ["", "y", "y"], onAsk });
    expect(await read(".codex/AGENTS.md")).toBe(withGuide("# Theirs\n", "section"));
  });

  test.skipIf(process.platform === "win32")("a file that two clients share by a link gets one section", async () => {
    await write("dotfiles/AGENTS.md", "# Mine\n");
    for (const folder of [".codex", ".config/zed"]) {
      await mkdir(join(home, folder), { recursive: true });
      await symlink(join(home, "dotfiles/AGENTS.md"), join(home, folder, "AGENTS.md"));
    }
    expect((await run({ yes: true, guide: true })).code).toBe(0);
    expect(await read("dotfiles/AGENTS.md")).toBe(withGuide("# Mine\n", "section"));
    expect((await run({ undo: true, yes: true })).code).toBe(0);
    expect(await read("dotfiles/AGENTS.md")).toBe("# Mine\n");
    expect(await readdir(join(home, "dotfiles"))).toEqual(["AGENTS.md"]);
  });
});
