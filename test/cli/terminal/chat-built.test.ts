import { mkdir, mkdtemp, readFile, realpath, writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { chatWords } from "../../../src/cli/commands/chat-commands.ts";
import { useShellHome } from "./built-shell.ts";

const { home, ollm: here, built, chats, lastPrompt } = useShellHome();
/** Each test has its own. */
let folder: string;
beforeEach(async () => {
  folder = await realpath(await mkdtemp(path.join(home().folder, "test-")));
});
const ollm = (words: readonly string[], input?: string, inFolder = folder) => built(words, input, {}, inFolder);

describe("chat without a terminal", () => {
  it("answers line by line, continues the conversation, and runs commands", async () => {
    const { code, stdout, stderr } = await ollm(
      ["chat", "smollm2:135m"],
      'One?\n"""\nTwo\nthree?\n"""\n/exit\nFour?\n',
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toBe("The sky is blue.\nThe sky is blue.\n");
    expect(chats().at(-1)?.body["messages"]).toMatchObject([
      { role: "user", content: "One?" },
      { role: "assistant", content: "The sky is blue." },
      { role: "user", content: "Two\nthree?" },
    ]);
  });

  it("/compare asks the models that are named, and alone repeats the last comparison", async () => {
    const { code, stdout } = await ollm(["chat"], "/compare smollm2:135m big:7b Why?\nReally?\n/compare\n");
    expect(code).toBe(0);
    const tables = stdout.split(/^MODEL/m).slice(1);
    expect(tables).toHaveLength(2);
    for (const table of tables) {
      expect(table).toContain("\n=== smollm2:135m ===\nThe sky is blue.\n");
      expect(table).toContain("\n=== big:7b ===\n");
    }
    expect(lastPrompt()).toBe("Why?");
  });

  it('/compare "PROMPT" MODEL MODEL asks those models, and says which is not installed', async () => {
    expect(await ollm(["chat"], '/compare "Explain recursion" smollm2:135m big:7b\n')).toMatchObject({ code: 0 });
    expect(lastPrompt()).toBe("Explain recursion");
    const { stdout } = await ollm(["chat"], `/compare "Explain recursion" smollm2:135m gone:7b\n`);
    expect(stdout).toContain("failed: no model gone:7b");
  });

  it("/compare with models and no prompt asks the last question of the conversation", async () => {
    expect(await ollm(["chat"], "Really?\n/compare smollm2:135m big:7b\n")).toMatchObject({ code: 0 });
    expect(lastPrompt()).toBe("Really?");
  });

  it("/compare alone asks the last question of the conversation if nothing was compared yet", async () => {
    expect(await ollm(["chat"], "Really?\n/compare\n")).toMatchObject({ code: 0 });
    expect(lastPrompt()).toBe("Really?");
  });

  it("/compare without an earlier question or comparison fails, and shows what to type", async () => {
    expect(await ollm(["chat"], "/compare\n")).toMatchObject({
      code: 2,
      stderr: "ollm: there is no earlier question or comparison to repeat\n  Type /compare [MODEL ...] QUESTION.\n",
    });
  });

  it("/help has 25 lines that fit into 60 columns, and no flags of the shell", async () => {
    const { stdout } = await ollm(["chat"], "/help\n");
    const lines = stdout.trimEnd().split("\n");
    expect(lines.length).toBeLessThanOrEqual(25);
    expect(lines.filter((line) => line.length > 59 || line.includes("--"))).toEqual([]);
    for (const name of ["file", "image", "set", "save", "load"]) expect(stdout).toMatch(new RegExp(`^/${name} `, "m"));
  });

  it("/file sends files of any folder with the question behind it or the next one, and only once", async () => {
    const work = path.join(folder, "work");
    await mkdir(work);
    await writeFile(path.join(work, "a b.txt"), "first text");
    await writeFile(path.join(folder, "outside.txt"), "second text");
    const lines = [
      "/file 'a b.txt' ../outside.txt Compare them",
      "/file ../outside.txt",
      "Alone?",
      "And now?",
      "/file no.txt",
    ];
    const { code, stdout, stderr } = await ollm(["chat"], lines.map((line) => `${line}\n`).join(""), work);
    expect(code).toBe(2);
    expect(stdout).toContain("../outside.txt: sent with the next question.\n");
    expect(stderr).toBe("ollm: no.txt was not found\n");
    const sent = chats().at(-1)?.body["messages"] as readonly { role: string; content: string }[] | undefined;
    const questions = (sent ?? []).filter(({ role }) => role === "user");
    expect(questions[0]?.content).toMatch(/first text[^]*second text[^]*Compare them$/);
    expect(questions[1]?.content).toMatch(/second text[^]*Alone\?$/);
    expect(questions[2]?.content).toBe("And now?");
  });

  it("/file takes patterns and lines with a question behind them", async () => {
    const work = path.join(folder, "work");
    await mkdir(work);
    await writeFile(path.join(work, "a.md"), "first text\nsecond line");
    await writeFile(path.join(work, "b.txt"), "third text\nfourth line");
    const { stdout } = await ollm(["chat"], "/file *.md b.txt:2-2 Compare them\n", work);
    expect(stdout).not.toContain("sent with the next question");
    expect(lastPrompt()).toMatch(/first text[^]*fourth line[^]*Compare them$/);
    expect(lastPrompt()).not.toContain("third text");
  });

  it("a template reads files of any folder, too", async () => {
    const work = path.join(folder, "work");
    await mkdir(work);
    await writeFile(path.join(folder, "outside.txt"), "second text");
    const { code, stderr } = await ollm(["chat"], "/template use summary files=../outside.txt\n", work);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(lastPrompt()).toContain("second text");
  });

  it("/set changes requests, refuses wrong values, and lists all settings", async () => {
    const lines = ["/set max-tokens 50", "/set temprature 1", "/set temperature 9", "/set think maybe", "/set", "Hi?"];
    const { stdout, stderr } = await ollm(["chat"], lines.map((line) => `${line}\n`).join(""));
    expect(stdout).toMatch(/^max-tokens is 50\.\nmax-tokens +50\ntemperature +default\n/);
    expect(stderr).toContain("ollm: /set has no temprature\n  Did you mean /set temperature?\n");
    expect(stderr).toContain("ollm: temperature is 9; allowed: number from 0 to 2, default\n");
    expect(stderr).toContain('ollm: think is "maybe"; allowed: on, off, low, medium, high, default\n');
    expect(chats().at(-1)?.body["options"]).toMatchObject({ num_predict: 50 });
  });

  it("/load continues a conversation that /save wrote, and refuses other files", async () => {
    await ollm(["chat"], "Why is it blue?\n/save talk.md\n");
    const { stdout, stderr } = await ollm(["chat"], "/load talk.md\nAnd red?\n/save again.md\n");
    expect(stdout).toContain("Loaded 1 question with answers; sent with the next question.\n");
    expect(stderr).toBe("");
    expect(lastPrompt()).toMatch(/\*\*You:\*\* Why is it blue\?[^]*The sky is blue\.[^]*And red\?$/);
    const again = await readFile(path.join(folder, "again.md"), "utf8");
    expect(again.match(/^\*\*You:\*\* .*$/gm)).toEqual(["**You:** Why is it blue?", "**You:** And red?"]);
    await writeFile(path.join(folder, "notes.txt"), "text");
    await mkdir(path.join(folder, "folder"));
    expect((await ollm(["chat"], "/load folder\n")).stderr).toContain("folder can't be read (EISDIR)");
    expect((await ollm(["chat"], "/load notes.txt\n")).stderr).toBe(
      "ollm: notes.txt has no conversation that /save wrote\n  To ask about it: /file notes.txt.\n",
    );
  });

  it("/project init shows the file that it has written", async () => {
    const work = path.join(folder, "work");
    await mkdir(work);
    await writeFile(path.join(work, "go.mod"), "module x\n");
    const { stdout, stderr } = await ollm(["chat"], "/project init\n/project use none\n", work);
    const file = path.join(work, ".ollm", "project.yaml");
    expect({ stdout: stdout.split("\n")[0], stderr }).toEqual({ stdout: `Wrote ${file} (profile go)`, stderr: "" });
    expect(await readFile(file, "utf8")).toContain("profile: go");
  });

  it("fills a template from files, lists its variables, and rejects doubled braces", async () => {
    const work = path.join(folder, "work");
    await mkdir(work);
    await writeFile(path.join(work, "letter.txt"), "Dear reader");
    const lines = [
      "/template create echo",
      "Say {text} in {language:English}.",
      "Says it.",
      "/template use echo files=letter.txt",
      "/template use echo",
      "/template create twice",
      "Say {{text}}.",
      "",
    ];
    const { stdout, stderr } = await ollm(["chat"], lines.map((line) => `${line}\n`).join(""), work);
    expect(stdout).toContain("Variables: text, language\n");
    expect(lastPrompt()).toBe("Say Dear reader in English.");
    expect(stderr).toContain("ollm: not a terminal, so I can't ask: Template echo needs text. Needed: text.\n");
    expect(stderr).toContain("files=PATH");
    expect(stderr).toContain("{{text}} in line 1 of template is not a variable");
  });

  it("pins and unpins a model", async () => {
    const pinned = "smollm2:135m is pinned: once loaded it stays in memory until it is unpinned or the daemon exits\n";
    const unpinned = "smollm2:135m is no longer pinned\n";
    const lines = ["pin", "unpin"].map((action) => `/model ${action} smollm2:135m\n`);
    const { stdout, stderr } = await ollm(["chat"], lines.join(""));
    expect(stdout).toBe(pinned + unpinned);
    expect(stderr).toBe("");
    const { stdout: help } = await ollm(["chat"], "/help\n");
    expect(help).toContain("keep in memory; also: unpin");
    expect(chatWords).toEqual(expect.arrayContaining(["/model pin", "/model unpin"]));
  });

  it("adds and deletes memories whose keys have several words", async () => {
    const lines = ['add "my tone" short and dry', "add pet Rex", "forget my tone", 'forget "pet"', "list"];
    const { stdout, stderr } = await ollm(["chat"], lines.map((line) => `/memory ${line}\n`).join(""));
    expect({ stdout, stderr }).toEqual({
      stdout: "Remembered my tone\nRemembered pet\nForgot my tone\nForgot pet\nNo memories.\n",
      stderr: "",
    });
  });

  it("accepts quotes around a key, and around a value, as a shell does", async () => {
    const given = [`add k "v w"`, `add 'my pet' 'Rex'`, `add quote "Yes" and "no"`, `add "half`];
    onTestFinished(async () => void (await here(["memory", "forget", "--all", "--yes"])));
    await ollm(["chat"], given.map((line) => `/memory ${line}\n`).join(""));
    const { stdout } = await here(["memory", "list", "--json"]);
    const { entries } = JSON.parse(stdout) as { entries: { key: string; value: string }[] };
    expect(Object.fromEntries(entries.map(({ key, value }) => [key, value]))).toEqual({
      k: "v w",
      "my pet": "Rex",
      quote: '"Yes" and "no"',
    });
  });

  it("asks before it deletes all memories, even if there is one", async () => {
    const { stdout, stderr } = await ollm(["chat"], "/memory add pet Rex\n/memory clear\n/memory list\n");
    expect(stderr).toContain("Forget 1 entry (pet)?");
    expect(stdout).toMatch(/^pet +Rex +fact /m);
  });

  it("suggests the nearest command, continues, and exits with the code of the last error", async () => {
    const { code, stdout, stderr } = await ollm(["chat"], "/modle list\nWhy?\n/save talk.md\n");
    expect(code).toBe(2);
    expect(stderr).toBe("ollm: unknown command /modle\n  Did you mean /model?\n");
    expect(stdout).toContain("The sky is blue.\n");
    expect(await readFile(path.join(folder, "talk.md"), "utf8")).toContain("**You:** Why?");
  });
});
