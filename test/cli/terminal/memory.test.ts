import { writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { addMemory, forgetMemory } from "../../../src/cli/commands/memory.ts";
import { makeDaemonHome, type DaemonHome } from "../../support/daemon-home.ts";
import { writeFiles } from "../../support/project-client.ts";
import { runCommand } from "./built-shell.ts";

let home: DaemonHome;
beforeEach(async () => {
  home = await makeDaemonHome();
});
afterEach(() => home.close());

type Io = ReturnType<DaemonHome["io"]>;

/** What a command printed; `given` replaces parts of its terminal. */
async function ran(work: (io: Io) => Promise<number>, given: Partial<Io> = {}) {
  const io = { ...home.io(), ...given };
  const code = await work(io);
  return { code, out: io.out.join(""), err: io.err.join("") };
}

const add = (key: string, value: string, options: Parameters<typeof addMemory>[2] = {}, given: Partial<Io> = {}) =>
  ran((io) => addMemory(key, value.split(" "), options, io), given);

describe("ollm memory", () => {
  it("adds, finds, shows and forgets", async () => {
    expect((await ran((io) => runCommand(io, "memory", "list"))).out).toBe("No memories.\n");
    expect(await add("deploy", "make ship, region fra")).toEqual({ code: 0, out: "Remembered deploy\n", err: "" });
    await add("tone", "short and dry", { category: "preference", pin: true });
    expect((await add("deploy", "make ship", { tag: ["ci"] })).out).toBe(
      "Remembered deploy, in place of: make ship, region fra\n",
    );
    expect((await ran((io) => runCommand(io, "memory", "list"))).out).toMatch(
      /^KEY +VALUE +KIND +CHANGED\ntone +short and dry +preference .*\ndeploy +make ship +fact .*\n$/,
    );
    expect(await ran((io) => runCommand(io, "memory", "search", "deplyo"))).toMatchObject({
      code: 0,
      out: expect.stringMatching(/\ndeploy +make ship .*\nfound by words\n$/) as string,
    });
    expect(await ran((io) => runCommand(io, "memory", "search", "cat"))).toEqual({
      code: 1,
      out: "No memory matches (searched by words).\n",
      err: "",
    });
    const shown = await ran((io) => runCommand(io, "memory", "show", "deploy"));
    expect(shown.out).toMatch(/^make ship\nfact\ntags ci\nsource user\n/);
    expect(shown.out).toContain("previous value: make ship, region fra\n");
    expect(await ran((io) => runCommand(io, "memory", "show", "deplo"))).toMatchObject({
      code: 1,
      err: expect.stringContaining('Did you mean "deploy"?') as string,
    });
    expect((await ran((io) => forgetMemory(["deploy"], {}, io))).out).toBe("Forgot deploy\n");
    expect(JSON.parse((await ran((io) => runCommand(io, "memory", "list", "--json"))).out)).toMatchObject({
      total: 1,
      entries: [{ key: "tone", pinned: true, source: "user" }],
    });
  });

  it("asks before it forgets several, and says how where nobody can answer", async () => {
    await add("a", "1");
    await add("b", "2");
    const unconfirmed = await ran((io) => forgetMemory([], { all: true }, io));
    expect(unconfirmed).toMatchObject({ code: 2, out: "", err: expect.stringContaining("--yes") as string });
    const questions: string[] = [];
    const declined = await ran((io) => forgetMemory([], { all: true }, io), {
      isTerminal: true,
      ask(question) {
        questions.push(question);
        return Promise.resolve("n");
      },
    });
    expect(declined).toMatchObject({ code: 1, out: "" });
    expect(questions.join("")).toContain("Forget 2 entries");
    const named = await ran((io) => forgetMemory(["a", "b"], {}, io));
    expect(named).toMatchObject({ code: 2, out: "", err: expect.stringContaining("--yes") as string });
    expect(
      await ran((io) => forgetMemory(["a", "b"], {}, io), { isTerminal: true, ask: async () => "" }),
    ).toMatchObject({
      code: 1,
      out: "",
    });
    const gone = await ran((io) => forgetMemory([], { all: true, yes: true, json: true }, io));
    expect(JSON.parse(gone.out)).toMatchObject({ total: 2 });
    expect(await ran((io) => forgetMemory([], {}, io))).toMatchObject({ code: 2 });
    expect(await ran((io) => forgetMemory(["a"], { all: true }, io))).toMatchObject({ code: 2 });
  });

  it("refuses what looks like a secret, unless forced, and never repeats it", async () => {
    const secret = `sk-proj-${"a1B2".repeat(12)}`;
    const refused = await add("key", secret);
    expect(refused).toMatchObject({ out: "", err: expect.stringContaining("force") as string });
    expect(refused.code).not.toBe(0);
    expect(refused.err).not.toContain(secret);
    expect(await add("key", secret, { force: true })).toMatchObject({ code: 0 });
  });

  it.each([
    ["JSON", [], "backup.json"],
    ["Markdown", ["--markdown"], "backup.md"],
  ])("brings all entries, those of projects too, into another home as %s", async (_name, options, file) => {
    const project = path.join(home.folder, "work");
    await writeFiles(project, { "package.json": "{}" });
    await add("global", "first line\nsecond line", { category: "context", ttl: 3_600 });
    await add("deploy", "here", { project: true }, { workingDirectory: project });
    const exported = await ran((io) => runCommand(io, "memory", "export", ...options));
    expect(exported).toMatchObject({ code: 0, err: "" });
    const backup = path.join(home.folder, file);
    await writeFile(backup, exported.out);
    await ran((io) => forgetMemory([], { all: true, yes: true }, io), { workingDirectory: project });
    const imported = await ran((io) => runCommand(io, "memory", "import", backup));
    expect(imported).toEqual({ code: 0, out: "Imported 2 entries.\n", err: "" });
    const { entries } = JSON.parse((await ran((io) => runCommand(io, "memory", "export", "--json"))).out) as {
      entries: object[];
    };
    expect(entries).toHaveLength(2);
    expect(entries).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          key: "global",
          value: "first line\nsecond line",
          category: "context",
          source: "system",
          expiresAt: expect.any(String) as string,
        }),
        expect.objectContaining({ key: "deploy", scope: "project", source: "system" }),
      ]),
    );
  });

  it("takes and gives back more than one message has room for", async () => {
    // Escaped, each character is two in a message of at most 4 MiB.
    const entries = Array.from({ length: 100 }, (_unused, index) => ({ key: `k${index}`, value: '"'.repeat(50_000) }));
    const text = JSON.stringify({ version: 1, entries });
    const imported = await ran((io) => runCommand(io, "memory", "import"), { readInput: () => Promise.resolve(text) });
    expect(imported).toEqual({ code: 0, out: "Imported 100 entries.\n", err: "" });
    const exported = JSON.parse((await ran((io) => runCommand(io, "memory", "export"))).out) as { entries: object[] };
    expect(exported.entries).toHaveLength(100);
    expect(exported.entries.at(-1)).toMatchObject(entries.at(-1) ?? {});
    expect((await ran((io) => runCommand(io, "memory", "list", "--json"))).out).toContain('"total": 100');
  });

  it("imports what is piped in, and says which entries it didn't take", async () => {
    const text = JSON.stringify({ version: 1, entries: [{ key: "a", value: "1" }, { key: "b" }] });
    const imported = await ran((io) => runCommand(io, "memory", "import"), { readInput: () => Promise.resolve(text) });
    expect(`${imported.out}${imported.err}`).toMatch(/Imported 1[^]*"b": /);
    const none = await ran((io) => runCommand(io, "memory", "import"), { readInput: () => Promise.resolve("no json") });
    expect(none.code).not.toBe(0);
    expect(none.err).toContain("the text is not JSON");
    const missing = await ran((io) => runCommand(io, "memory", "import", "nowhere.json"));
    expect(missing).toMatchObject({ code: 2, err: expect.stringContaining("nowhere.json was not found") as string });
  });

  it("shows nothing of what an entry would do to a terminal", async () => {
    await add("bad", "red \u001b[31m text");
    for (const words of [["list"], ["show", "bad"]]) {
      expect((await ran((io) => runCommand(io, "memory", ...words))).out).not.toContain("\u001b");
    }
  });
});
