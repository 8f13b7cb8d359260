import { writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeDaemonHome, type DaemonHome } from "../../support/daemon-home.ts";
import { runHere } from "./built-shell.ts";

const file = "guide.md";
const sections = Array.from(
  { length: 8 },
  (_, at) => `## ${at + 1} Topic ${at + 1}\n\nPort ${9001 + at}.\n\n${`Words about subject${at + 1}.\n\n`.repeat(40)}`,
);
const isReading = (prompt: string) => prompt.trimEnd().endsWith("Notes on this part:");

let home: DaemonHome;

beforeAll(async () => {
  let colours = 0;
  const reply = (prompt: string) =>
    prompt.includes("Pick a colour") ? `colour${(colours += 1)}` : (/\b9\d{3}\b/.exec(prompt)?.[0] ?? "NOTHING");
  home = await makeDaemonHome({}, { models: [{ name: "small:1b", contextTokens: 1024, reply }] });
  await writeFile(path.join(home.folder, file), sections.join(""));
});

afterAll(() => home.close());

const chats = () => home.ollama.requests.filter(({ path: asked }) => asked === "/api/chat");
const promptsSent = () =>
  chats().map(({ body }) => (body["messages"] as readonly { readonly content: string }[]).at(-1)?.content ?? "");

test("a file beyond the window is read in parts, with plain lines of progress where stderr is no terminal", async () => {
  const { code, stdout, stderr } = await runHere(home, ["run", "--file", file, "Summarise this"]);
  expect({ code, stdout }).toEqual({ code: 0, stdout: "9001\n" });
  const parts = promptsSent().filter(isReading).length;
  expect(parts).toBeGreaterThan(3);
  expect(stderr).toContain(`read in ${parts} parts\n`);
  expect(stderr).not.toContain("\u001b");
});

test("a question about one place is one request, and stderr names what was read", async () => {
  const before = chats().length;
  const { stdout, stderr } = await runHere(home, ["run", "--file", file, "What is the port in section 3?"]);
  expect(stdout).toBe("9003\n");
  expect(stderr).toMatch(
    /^read \d+ of \d+ parts, \d+ %: the passages that match the question \(.*guide\.md: 3 Topic 3/m,
  );
  expect(promptsSent().slice(before).filter(isReading)).toEqual([]);
});

test("an answer that finds no majority is printed, with exit code 3 for scripts; --json has the check", async () => {
  const { code, stdout, stderr } = await runHere(home, ["run", "--check", "agree", "Pick a colour, in one word"]);
  expect(code).toBe(3);
  expect(stdout).toMatch(/^colour\d+\n$/);
  expect(stderr).toMatch(/^no two of 3 answers agree; .*; others: colour\d+/m);
  const asJson = await runHere(home, ["run", "--check", "agree", "--json", "Pick a colour, in one word"]);
  expect(asJson.code).toBe(3);
  expect(JSON.parse(asJson.stdout)).toMatchObject({ check: { kind: "agree", votes: { equal: 1, total: 3 } } });
});

test("--split none refuses the file, and the next step names the flag", async () => {
  const { code, stderr } = await runHere(home, ["run", "--file", file, "--split", "none", "Summarise this"]);
  expect(code).toBe(1);
  expect(stderr).toContain("--split");
});
