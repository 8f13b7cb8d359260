import { readFileSync, writeFileSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readFile, readdir, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { checkLaunch } from "../../src/cli/setup/check-clients.ts";
import { type SetupGiven, runSetup, writeIn } from "../support/run-setup.ts";

let home: string;
let script: string;

beforeEach(async () => {
  home = await realpath(await mkdtemp(join(tmpdir(), "ollm-setup-")));
  script = join(home, "installed", "dist", "cli.mjs");
  await write("installed/dist/cli.mjs", "");
  await mkdir(join(home, "Documents"));
});
afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

const write = (name: string, text: string) => writeIn(home, name, text);
const read = (name: string) => readFile(join(home, name), "utf8");

const run = (options: Parameters<typeof runSetup>[1], given: SetupGiven = {}) =>
  runSetup(home, options, { script, ...given });

describe("ollm setup", () => {
  test("ends with a first model: asks for it in a terminal without --yes only", async () => {
    await mkdir(join(home, ".cursor"));
    const program = `node ${script}`;
    expect((await run({ print: true })).models).toEqual([]);
    expect((await run({}, { answers: ["", "n"] })).models).toEqual([]);
    expect((await run({ yes: true })).models).toEqual([{ mayAsk: false, program }]);
    // Nothing is left to change.
    expect((await run({}, { answers: [] })).models).toEqual([{ mayAsk: true, program }]);
    expect((await run({ yes: true }, { answers: [] })).models).toEqual([{ mayAsk: false, program }]);
    const broken = await run({ yes: true }, { check: () => ({ ok: false, reason: "broken" }) });
    expect([broken.code, broken.models]).toEqual([1, []]);
  });

  test("says which clients have no folder where others have one", async () => {
    await mkdir(join(home, ".cursor"));
    await run({ yes: true, root: ["~/Documents"] });
    await write(".codex/config.toml", "");
    const { stdout } = await run({ yes: true });
    expect(stdout).toContain(`Files: tools may read and write in ${join(home, "Documents")}.\n`);
    expect(stdout).toContain("Files: no folder is allowed in Codex, only the project");
  });

  test("writes node and script absolutely for every client it finds, and checks each entry once", async () => {
    await mkdir(join(home, ".cursor"));
    await write(".codex/config.toml", 'model = "x"\n');
    await write(".config/zed/settings.json", '// mine\n{\n  // theme\n  "theme": "One Dark",\n}\n');
    const { code, stdout, checked } = await run({ yes: true, root: ["~/Documents"] });
    expect(code).toBe(0);
    const launch = { command: process.execPath, args: [script, "--root", join(home, "Documents")] };
    expect(JSON.parse(await read(".cursor/mcp.json"))).toEqual({ mcpServers: { ollm: launch } });
    expect(await read(".codex/config.toml")).toBe(
      `model = "x"\n\n[mcp_servers.ollm]\ncommand = "${process.execPath}"\nargs = [ "${script}", "--root", "${join(home, "Documents")}" ]\nstartup_timeout_sec = 30\ntool_timeout_sec = 600\n`,
    );
    expect(await read(".config/zed/settings.json")).toMatch(
      /^\/\/ mine\n\{\n {2}\/\/ theme\n {2}"theme": "One Dark",\n {2}"context_servers": \{/,
    );
    expect(checked).toEqual([launch]);
    for (const name of ["Cursor", "Codex", "Zed"]) expect(stdout).toContain(`✓ ${name}: set up`);
    expect(stdout).toContain('+command = "');
    expect(stdout).toContain(join(home, "Documents"));
  });

  test("a second run changes nothing and says so", async () => {
    await mkdir(join(home, ".cursor"));
    await run({ yes: true, root: ["~/Documents"] });
    const before = await read(".cursor/mcp.json");
    // Without a change there is no question.
    const { code, stdout, asked } = await run({}, { answers: [] });
    expect({ code, asked }).toEqual({ code: 0, asked: [] });
    expect(stdout).toContain("already set up");
    expect(await read(".cursor/mcp.json")).toBe(before);
    expect(await readdir(join(home, ".cursor"))).toEqual(["mcp.json"]);
  });

  test("an upgrade shows what differs and keeps folders, flags and the user's own settings", async () => {
    await write(
      ".cursor/mcp.json",
      '{"mcpServers": {"ollm": {"command": "/old/node", "args": ["/old/cli.mjs", "--root", "/a", "--model", "m"], "disabled": true}}}',
    );
    const { code, stdout } = await run({ yes: true });
    expect(code).toBe(0);
    expect(stdout).toContain("! /a does not exist");
    expect(stdout).toContain('-{"mcpServers": {"ollm": {"command": "/old/node"');
    expect(await read(".cursor/mcp.json")).toBe(
      `{"mcpServers": {"ollm": {"command": "${process.execPath}", "args": ["${script}", "--root", "/a", "--model", "m"], "disabled": true}}}`,
    );
  });

  test("without anybody to ask it shows the change, writes nothing and says what to add", async () => {
    await mkdir(join(home, ".cursor"));
    const { code, stdout, stderr } = await run({});
    expect(code).toBe(2);
    expect(stdout).toContain('+  "mcpServers": {');
    expect(stderr).toContain("--yes");
    expect(await readdir(join(home, ".cursor"))).toEqual([]);
  });

  test("--print writes nothing and asks nothing", async () => {
    await mkdir(join(home, ".cursor"));
    const { code, stdout, asked, checked } = await run({ print: true }, { answers: ["y"] });
    expect({ code, asked, checked }).toEqual({ code: 0, asked: [], checked: [] });
    expect(stdout).toContain('+    "ollm": {');
    expect(await readdir(join(home, ".cursor"))).toEqual([]);
  });

  test("a person is asked for a folder (again when it can't be used), then for consent", async () => {
    await mkdir(join(home, ".cursor"));
    const { code, asked, stderr } = await run({ guide: false }, { answers: ["~", "~/Documents, installed", "y"] });
    expect(code).toBe(0);
    expect(asked).toHaveLength(3);
    expect(stderr).toContain("too much to allow");
    expect(JSON.parse(await read(".cursor/mcp.json"))).toMatchObject({
      mcpServers: { ollm: { args: [script, "--root", join(home, "Documents"), "--root", join(home, "installed")] } },
    });
  });

  test("with several clients a person picks, by number or name", async () => {
    for (const name of [".cursor", ".gemini", ".codex"]) await mkdir(join(home, name));
    const { code, stdout, asked } = await run({}, { answers: ["9", "1, gemini", "", "y"] });
    expect(code).toBe(0);
    expect(asked.filter((question) => question.startsWith("Which"))).toHaveLength(2);
    expect(stdout).toContain("  1  Cursor\n  2  Codex\n  3  Gemini CLI\n");
    expect(await readdir(join(home, ".codex"))).toEqual([]);
    expect(await read(".cursor/mcp.json")).toContain("ollm");
    expect(await read(".gemini/settings.json")).toContain("ollm");
  });

  test("what a client writes to its file during the question is kept", async () => {
    const file = await write(".claude.json", '{"numStartups": 1}');
    const answers = ["", "y"];
    const { code } = await run({ guide: false }, { answers, onAsk: () => writeFile(file, '{"numStartups": 2}') });
    expect(code).toBe(0);
    expect(JSON.parse(await read(".claude.json"))).toMatchObject({ numStartups: 2, mcpServers: { ollm: {} } });
  });

  test.skipIf(process.platform === "win32")("two clients that share a file by a link get one entry", async () => {
    await write(".gemini/settings.json", "{}");
    await mkdir(join(home, ".cursor"));
    await symlink("../.gemini/settings.json", join(home, ".cursor", "mcp.json"));
    const { code, stdout } = await run({ yes: true });
    expect(code).toBe(0);
    expect(stdout).toContain("✓ Cursor: set up");
    expect(stdout).toContain("✓ Gemini CLI: set up");
    expect((await read(".gemini/settings.json")).match(/"ollm"/g)).toHaveLength(1);
    expect((await run({ undo: true, yes: true })).code).toBe(0);
    expect(await read(".gemini/settings.json")).toBe("{}");
  });

  test("an existing entry is not lost when a change can't be undone", async () => {
    const old = '{"n": 1, "mcpServers": {"ollm": {"command": "npx", "args": ["-y", "ollm-mcp"]}}}';
    const file = await write(".claude.json", old);
    const check = (): Awaited<ReturnType<typeof checkLaunch>> => {
      writeFileSync(file, readFileSync(file, "utf8").replace('"n": 1', '"n": 2'));
      return { ok: false, reason: "no answer" };
    };
    const { code, stderr } = await run({ yes: true }, { check });
    expect(code).toBe(1);
    expect(stderr).toContain("was changed by another program meanwhile");
    expect(await read(".claude.json")).toContain('"ollm"');
  });

  test("a change is undone even in a file that its client wrote meanwhile", async () => {
    const file = await write(".claude.json", '{\n  "numStartups": 1\n}');
    const check = (): Awaited<ReturnType<typeof checkLaunch>> => {
      writeFileSync(file, readFileSync(file, "utf8").replace("1", "2"));
      return { ok: false, reason: "no answer" };
    };
    expect((await run({ yes: true }, { check })).code).toBe(1);
    expect(await read(".claude.json")).toBe('{\n  "numStartups": 2\n}');
  });

  test.each(["", "n", "no", "what?"])("anything but yes (%j) changes nothing", async (answer) => {
    await mkdir(join(home, ".cursor"));
    const { stdout } = await run({}, { answers: ["", answer] });
    expect(stdout).toContain("Nothing was changed.");
    expect(await readdir(join(home, ".cursor"))).toEqual([]);
  });

  test("without a folder it says what that means and the line that allows one", async () => {
    await mkdir(join(home, ".cursor"));
    const { stdout } = await run({ yes: true });
    expect(stdout).toContain("no folder is allowed");
    // A checkout has no command `ollm` on the PATH.
    expect(stdout).toContain(`node ${script} setup --root FOLDER`);
  });

  test("wrong folders and clients are refused before anything is read or written", async () => {
    await mkdir(join(home, ".cursor"));
    await expect(run({ yes: true, root: ["~/nowhere"] })).rejects.toThrow("~/nowhere is not a folder");
    await expect(run({ yes: true, root: ["~"] })).rejects.toThrow("too much to allow");
    await expect(run({ yes: true, client: ["cursr"] })).rejects.toThrow('unknown client "cursr"');
    expect(await readdir(join(home, ".cursor"))).toEqual([]);
  });

  test("--client sets up that client alone, also one that isn't found", async () => {
    await mkdir(join(home, ".cursor"));
    const { code, stdout } = await run({ yes: true, client: ["gemini"] });
    expect(code).toBe(0);
    expect(stdout).toContain("Gemini CLI was not found; creating it anyway");
    expect(await read(".gemini/settings.json")).toContain('"ollm"');
    expect(await readdir(join(home, ".cursor"))).toEqual([]);
  });

  test("no client: says where it looked, and the entry to write by hand", async () => {
    const { code, stdout } = await run({ yes: true });
    expect(code).toBe(1);
    expect(stdout).toContain(join(home, ".config", "Claude", "claude_desktop_config.json"));
    expect(stdout).toContain(`"command": "${process.execPath}"`);
  });

  test("a file that can't be parsed is reported with line and column and not changed; other clients are set up", async () => {
    const broken = await write(".cursor/mcp.json", '{\n  "mcpServers": {,\n}\n');
    await mkdir(join(home, ".gemini"));
    const { code, stdout } = await run({ yes: true });
    expect(code).toBe(1);
    expect(stdout).toContain(`${broken}:2:18: `);
    expect(stdout).toContain("✓ Gemini CLI: set up");
    expect(await read(".cursor/mcp.json")).toBe('{\n  "mcpServers": {,\n}\n');
    expect(await readdir(join(home, ".cursor"))).toEqual(["mcp.json"]);
  });

  test("an entry of that name that starts another program is not changed", async () => {
    const text = '{"mcpServers": {"ollm": {"command": "python", "args": ["mine.py"]}}}';
    await write(".cursor/mcp.json", text);
    const { code, stdout } = await run({ yes: true });
    expect(code).toBe(1);
    expect(stdout).toContain("starts another program");
    expect(await read(".cursor/mcp.json")).toBe(text);
  });

  test("a read-only file is not changed", async () => {
    const file = await write(".cursor/mcp.json", "{}");
    await chmod(file, 0o444);
    const { code, stdout } = await run({ yes: true });
    expect(code).toBe(1);
    expect(stdout).toContain(`${file} is read-only`);
  });

  test("a change after which ollm does not respond is undone, with the reason", async () => {
    await write(".cursor/mcp.json", "{}\n");
    const check = (): Awaited<ReturnType<typeof checkLaunch>> => ({ ok: false, reason: "no answer within 20 s" });
    const { code, stderr } = await run({ yes: true }, { check });
    expect(code).toBe(1);
    expect(stderr).toContain("no answer within 20 s");
    expect(stderr).toContain("the change was undone");
    expect(await read(".cursor/mcp.json")).toBe("{}\n");
    expect(await readdir(join(home, ".cursor"))).toEqual(["mcp.json"]);
  });

  test("keys of other servers are not shown beside the change", async () => {
    await write(
      ".cursor/mcp.json",
      '{\n  "mcpServers": {\n    "a": {\n      "env": {"API_KEY": "sk-12345"}\n    }\n  }\n}\n',
    );
    const { stdout } = await run({ print: true });
    expect(stdout).toContain('"API_KEY": "…"');
    expect(stdout).not.toContain("sk-12345");
  });

  test("run from the npx cache, setup copies the program into the home for the clients", async () => {
    await mkdir(join(home, ".cursor"));
    const cached = await write(".npm/_npx/1/node_modules/ollm-mcp/dist/cli.mjs", "the program");
    await write(".npm/_npx/1/node_modules/ollm-mcp/dist/chunks/a.mjs", "a chunk");
    const copy = join(home, ".ollm", "app", "1.0.0+abc", "cli.mjs");
    const { code, stdout } = await run({ yes: true }, { script: cached });
    expect(code).toBe(0);
    expect(stdout).toContain(copy);
    expect(stdout).toContain("npx -y ollm-mcp setup --root FOLDER");
    expect(await readFile(copy, "utf8")).toBe("the program");
    expect(JSON.parse(await read(".cursor/mcp.json"))).toMatchObject({ mcpServers: { ollm: { args: [copy] } } });
  });

  test("--print names a program that exists: the running one, until there is a copy", async () => {
    await mkdir(join(home, ".cursor"));
    const cached = await write(".npm/_npx/1/node_modules/ollm-mcp/dist/cli.mjs", "the program");
    const note = "`npx -y ollm-mcp setup` makes a lasting one";
    const before = await run({ print: true }, { script: cached });
    expect(before.stdout).toContain(`"${cached}"`);
    expect(before.stdout).toContain(note);
    await expect(readdir(join(home, ".ollm"))).rejects.toThrow("ENOENT");

    await run({ yes: true }, { script: cached });
    const after = await run({ print: true, client: ["zed"] }, { script: cached });
    expect(after.stdout).toContain(`"${join(home, ".ollm", "app", "1.0.0+abc", "cli.mjs")}"`);
    expect(after.stdout).not.toContain("lasting");
    expect((await run({ print: true })).stdout).not.toContain("lasting");
  });

  test("the entry for a client that is not in the list names a program that exists", async () => {
    const cached = await write(".npm/_npx/1/node_modules/ollm-mcp/dist/cli.mjs", "the program");
    const copy = join(home, ".ollm", "app", "1.0.0+abc", "cli.mjs");
    const printed = await run({ print: true }, { script: cached });
    expect(printed.stdout).toContain(`"${cached}"`);
    expect(printed.stdout).toContain("lasting");
    const { code, stdout } = await run({}, { script: cached });
    expect(code).toBe(1);
    expect(stdout).toContain(`"${copy}"`);
    expect(stdout).not.toContain("lasting");
    expect(await readFile(copy, "utf8")).toBe("the program");
  });

  test("a copy that can't be written is an error that names its place", async () => {
    await mkdir(join(home, ".cursor"));
    const cached = await write(".npm/_npx/1/node_modules/ollm-mcp/dist/cli.mjs", "the program");
    await symlink("nowhere", join(dirname(cached), "broken"));
    await expect(run({ yes: true }, { script: cached })).rejects.toThrow(
      /^the program can't be copied to .*1\.0\.0\+abc: /,
    );
    expect(await readdir(join(home, ".cursor"))).toEqual([]);
  });

  test("a home other than the default is written into the entry", async () => {
    await mkdir(join(home, ".cursor"));
    await run({ yes: true }, { environment: { OLLM_HOME: join(home, "data") } });
    expect(JSON.parse(await read(".cursor/mcp.json"))).toMatchObject({
      mcpServers: { ollm: { env: { OLLM_HOME: join(home, "data") } } },
    });
  });
});

describe("ollm setup --undo", () => {
  const originals: Readonly<Record<string, string>> = {
    ".cursor/mcp.json": "\uFEFF{}",
    ".config/zed/settings.json": '// mine\r\n{\r\n\t"theme": 1, // x\r\n}\r\n\r\n',
    ".codex/config.toml": "# c\n\nmodel = 'x'",
    ".claude.json": '{"projects":{"/a":{"history":[]}},"mcpServers":{}}',
    ".gemini/settings.json": "",
    ".lmstudio/mcp.json": '{\n  "mcpServers": {\n  }\n}\n',
  };

  test("gives back every byte, after a change and an upgrade, and leaves no backups", async () => {
    for (const [name, text] of Object.entries(originals)) await write(name, text);
    expect((await run({ yes: true })).code).toBe(0);
    await write("new/cli.mjs", "");
    const upgraded = await run({ yes: true, root: ["~/Documents"] }, { script: join(home, "new", "cli.mjs") });
    expect(upgraded.code).toBe(0);
    const { code, stdout } = await run({ undo: true, yes: true });
    expect(code).toBe(0);
    expect(stdout).toContain("✓ Claude Code: removed from");
    for (const [name, text] of Object.entries(originals)) {
      expect(await read(name), name).toBe(text);
      expect((await readdir(join(home, dirname(name)))).filter((file) => file.includes("backup"))).toEqual([]);
    }
  });

  test("deletes a file that setup created", async () => {
    await mkdir(join(home, ".cursor"));
    await run({ yes: true });
    expect((await run({ undo: true, yes: true })).stdout).toContain("created by ollm; will be deleted");
    expect(await readdir(join(home, ".cursor"))).toEqual([]);
  });

  test("after other changes takes out the entry alone", async () => {
    const file = await write(".config/zed/settings.json", '{\n  // mine\n  "theme": 1\n}\n');
    await run({ yes: true });
    await writeFile(file, (await readFile(file, "utf8")).replace('"theme": 1', '"theme": 2, "new": true'));
    await run({ undo: true, yes: true });
    expect(await readFile(file, "utf8")).toBe('{\n  // mine\n  "theme": 2, "new": true\n}\n');
  });

  test("asks first, and leaves what isn't ours", async () => {
    await write(".cursor/mcp.json", "{}");
    await write(".gemini/settings.json", '{"mcpServers": {"ollm": {"command": "python"}}}');
    await run({ yes: true, client: ["cursor"] });
    expect((await run({ undo: true })).code).toBe(2);
    expect((await run({ undo: true }, { answers: ["n"] })).stdout).toContain("Nothing was changed.");
    expect(await read(".cursor/mcp.json")).toContain("ollm");
    expect((await run({ undo: true }, { answers: ["yes"] })).code).toBe(0);
    expect(await read(".cursor/mcp.json")).toBe("{}");
    expect(await read(".gemini/settings.json")).toContain("python");
    expect((await run({ undo: true, yes: true })).stdout).toContain("No client has an ollm entry.");
  });

  test("--print shows it and changes nothing", async () => {
    await write(".cursor/mcp.json", "{}");
    await run({ yes: true });
    const before = await read(".cursor/mcp.json");
    expect((await run({ undo: true, print: true })).stdout).toContain('-    "ollm": {');
    expect(await read(".cursor/mcp.json")).toBe(before);
  });
});
