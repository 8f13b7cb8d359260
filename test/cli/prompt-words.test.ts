import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { meaningOf, meaningsIn, notesOnFiles, withRepeatedFiles } from "../../src/cli/commands/prompt-words.ts";
import type { DaemonHome } from "../support/daemon-home.ts";
import { lastPromptAt, makeShellHome, runHere } from "./terminal/built-shell.ts";

const installed = ["tiny:latest", "smollm2:135m", "gemma3:4b", "solar:10.7b"];
const families = ["llama3.2", "mistral", "qwen3", "phi", "yi", "granite"];

/** The words as a shell splits them: `run tinny "why is it?"`. */
const meaning = (line: string) => {
  const words = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? "");
  const [first = "", ...rest] = words;
  return meaningOf(first, rest, { installed, families });
};

describe("the first word of run", () => {
  it.each([
    "tiny hi",
    "Tiny hi",
    "tiny what is the answer",
    "smollm2:135m hi",
    "nope:7b hi",
    "hf.co/org/repo-GGUF hi",
    "gemma3 hi",
    "gemma3 say hello to all",
    "solar panels",
    'solar "Why is it windy?"',
    'mistral "Why is it windy?"',
    "llama3.2 hi",
    "mistral",
  ])("is a model: %s", (line) => {
    expect(meaning(line)).toEqual({ kind: "model" });
  });

  it.each([
    ["tinny hi", "tiny:latest"],
    ["tinny", "tiny:latest"],
    ['tinny "why is it?"', "tiny:latest"],
    ["smolm2 hi", "smollm2:135m"],
    ["gema3 hi", "gemma3:4b"],
    ["lama3.2 hi", "llama3.2"],
  ])("is a name that no model has, and is refused: %s", (line, near) => {
    expect(meaning(line)).toEqual({ kind: "unknown", near: [near] });
  });

  it.each([
    ["tinny say hi please", "no model is called tinny (tiny:latest is installed); it is part of the prompt"],
    ["solar panels are what", "no model is called solar (solar:10.7b is installed); it is part of the prompt"],
    ["mistral winds blow", "no model is called mistral; it is part of the prompt"],
    ["gpt-4o hi", "no model is called gpt-4o; it is part of the prompt"],
    ["python3.14 news", "no model is called python3.14; it is part of the prompt"],
    ['foo "why is it?"', "no model is called foo; it is part of the prompt"],
  ])("belongs to the prompt, and that is said: %s", (line, note) => {
    expect(meaning(line)).toEqual({ kind: "prompt", note });
  });

  it.each([
    "hello world",
    "hello",
    "hi there",
    "small talk",
    "Why?",
    "what is a llama",
    "12:30 in words",
    "and/or explained",
    "the phi coefficient",
    "Note: this",
    '"tinny hi"',
    'Translate "guten Morgen"',
    "42",
  ])("belongs to the prompt without a word: %s", (line) => {
    expect(meaning(line)).toEqual({ kind: "prompt" });
  });
});

const files = new Set(["app.py", "src/util.py", "LICENSE", "README", "a.png", "test"]);
const isFile = (name: string) => files.has(name);

test.each([
  ["run -f app.py src/util.py Explain", "run -f app.py -f src/util.py Explain"],
  [
    "run tiny --file app.py LICENSE src/util.py Explain",
    "run tiny --file app.py --file LICENSE --file src/util.py Explain",
  ],
  ["run --file=app.py src/util.py Explain", "run --file=app.py --file src/util.py Explain"],
  ["run -fapp.py src/util.py Explain", "run -fapp.py -f src/util.py Explain"],
  ["run -f app.py git:staged Explain", "run -f app.py -f git:staged Explain"],
  ["run --image a.png a.png What?", "run --image a.png --image a.png What?"],
  ["run --for-each app.py src/util.py Explain", "run --for-each app.py --for-each src/util.py Explain"],
  ["run Explain -f app.py src/util.py", "run Explain -f app.py -f src/util.py"],
  ["run -f app.py -- src/util.py", "run -f app.py -- src/util.py"],
  ["run -f app.py is src/util.py like it", "run -f app.py is src/util.py like it"],
  ["run -f app.py test", "run -f app.py test"],
  ["run -f app.py --think src/util.py", "run -f app.py --think src/util.py"],
  ["compare -f app.py src/util.py Explain", "compare -f app.py -f src/util.py Explain"],
  ["template render summary -f app.py src/util.py", "template render summary -f app.py -f src/util.py"],
  ["template create letter -f app.py src/util.py", "template create letter -f app.py src/util.py"],
])("files that follow --file are files: %s", (line, expected) => {
  expect(withRepeatedFiles(line.split(" "), isFile).join(" ")).toBe(expected);
});

test("a file in a prompt is only its name, and that is said; so is a path that was probably meant as a file", () => {
  expect(notesOnFiles(["app.py", "Explain"], isFile, false)).toEqual([
    "app.py is part of the prompt; to add the file's text: --file app.py",
  ]);
  expect(notesOnFiles(["src/nope.py", "Explain"], isFile, true)).toEqual([
    "src/nope.py was not found; it is part of the prompt",
  ]);
  expect(notesOnFiles(["src/nope.py", "Explain"], isFile, false)).toEqual([]);
  expect(notesOnFiles(["test", "and/or", "Explain", "app.py and more"], isFile, true)).toEqual([]);
});

describe("the built command", () => {
  let home: DaemonHome;
  beforeAll(async () => {
    home = await makeShellHome();
  });
  afterAll(() => home.close());
  const ollm = (words: readonly string[]) => runHere(home, words);
  const lastPrompt = () => lastPromptAt(home);

  it("a name that is nearly one is refused before a prompt, in a chat and by itself, with what was meant", async () => {
    const near = await ollm(["run", "smolm2", "hi"]);
    expect(near).toEqual({
      code: 1,
      stdout: "",
      stderr:
        'ollm: no model is called smolm2\n  Did you mean smollm2:135m? Or if it is a prompt: `ollm run "smolm2 hi"`.\n',
    });
    for (const words of [
      ["chat", "smolm2"],
      ["show", "smolm2"],
      ["load", "smolm2"],
      ["run", "--model", "smolm2", "hi"],
    ]) {
      const { code, stdout, stderr } = await ollm(words);
      expect({ words, code, stdout }).toEqual({ words, code: 1, stdout: "" });
      expect(stderr).toMatch(/^ollm: no model smolm2\n {2}Did you mean smollm2:135m\?/);
    }
  });

  it("takes all files after --file, and says which files of a prompt are only names", async () => {
    await mkdir(path.join(home.folder, "src"));
    await writeFile(path.join(home.folder, "app.py"), "print(1)\n");
    await writeFile(path.join(home.folder, "src", "util.py"), "x = 2\n");
    const both = await ollm(["run", "-f", "app.py", "src/util.py", "Explain"]);
    expect(both).toEqual({ code: 0, stdout: "The sky is blue.\n", stderr: "" });
    expect(lastPrompt()).toMatch(/print\(1\)[^]*x = 2[^]*Explain$/);
    const none = await ollm(["run", "app.py", "Explain"]);
    expect(none.stderr).toBe("ollm: app.py is part of the prompt; to add the file's text: --file app.py\n");
    const missing = await ollm(["run", "-f", "app.py", "src/nope.py", "Explain"]);
    expect(missing.stderr).toBe("ollm: src/nope.py was not found; it is part of the prompt\n");
    expect(await ollm(["compare", "-f", "app.py", "src/util.py", "Explain"])).toMatchObject({ code: 0 });
    expect(lastPrompt()).toMatch(/print\(1\)[^]*x = 2[^]*Explain$/);
  });

  it("takes a JSON Schema itself as --format, and says what is wrong with one", async () => {
    await ollm(["run", "--format", '{"type":"object"}', "Hi"]);
    const chats = home.ollama.requests.filter((request) => request.path === "/api/chat");
    expect(chats.at(-1)?.body["format"]).toEqual({ type: "object" });
    const broken = await ollm(["run", "--format", '{"type":', "Hi"]);
    expect(broken.code).toBe(2);
    expect(broken.stderr).toMatch(
      /^ollm: --format is not a JSON Schema: .*\n {2}Correct the JSON, or use --format json\.\n$/,
    );
    expect((await ollm(["run", "--format", "nope.json", "Hi"])).stderr).toBe(
      "ollm: nope.json was not found\n  --format takes json, a JSON Schema, or a file with one.\n",
    );
  });
});

it("asks for the models once for all words, and not for those that are no names", async () => {
  let calls = 0;
  const call = async () => {
    calls += 1;
    return { structured: { models: [{ name: "smollm2:135m" }] } };
  };
  const session = { call, read: async () => ({ entries: [] }) } as unknown as Parameters<typeof meaningsIn>[0];
  const read = meaningsIn(session);
  expect((await read("Why?", [])).kind).toBe("prompt");
  expect(calls).toBe(0);
  const kinds = await Promise.all(["smollm2:135m", "blue", "sky"].map((word) => read(word, ["is", "it"])));
  expect(kinds.map(({ kind }) => kind)).toEqual(["model", "prompt", "prompt"]);
  expect(calls).toBe(1);
});
