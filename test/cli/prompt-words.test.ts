import { describe, expect, it, test } from "vitest";
import { meaningOf, notesOnFiles, withRepeatedFiles } from "../../src/cli/commands/prompt-words.ts";

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
