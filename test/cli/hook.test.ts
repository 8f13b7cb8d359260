import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { hookAnswer } from "../../src/cli/hook.ts";

let folder: string;
const large = "The ferry left at noon.\n".repeat(4_000);

beforeAll(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), "ollm-hook-")));
  await mkdir(join(folder, "work"));
  for (const [name, content] of [
    ["work/large.log", large],
    ["work/two words.log", large],
    ["work/small.log", "The ferry left.\n"],
    ["work/picture.png", Buffer.alloc(50_000)],
    ["work/paper.pdf", `%PDF-1.7\n${large}`],
    ["outside.log", large],
  ] as const)
    await writeFile(join(folder, name), content);
});
afterAll(() => rm(folder, { recursive: true, force: true }));
beforeEach(() => writeFile(join(folder, "summary.json"), '{"models":[{"name":"smollm2:135m"}]}'));

const answer = (input: object, environment = {}) =>
  hookAnswer(JSON.stringify({ cwd: join(folder, "work"), tool_input: input }), folder, environment, 30_000);
const hint = (input: object) => {
  const given = answer(input);
  return given && "additionalContext" in given ? given.additionalContext : given;
};
const ofCommand = (command: string) => hint({ command });

test("a large file is announced with what reading it and handing it over cost", () => {
  const said =
    "large.log is about 24,000 tokens. If a summary, an extract or one fact of it is enough, ollm's route_and_generate " +
    'with files ["large.log"] has a local model read it: for you that costs about 40 tokens, your prompt and the answer. ' +
    "OLLM_HOOK=off ends these lines.";
  expect(hint({ file_path: join(folder, "work", "large.log") })).toBe(said);
  expect(ofCommand("cat large.log")).toBe(said);
  expect(ofCommand("cat 'two words.log'")).toContain('files ["two words.log"]');
});

test("with OLLM_HOOK=refuse the read is refused, with the ways in which all of it can be read; off ends both", () => {
  const [file, mode] = [{ file_path: "large.log" }, { OLLM_HOOK: "refuse" }];
  const refused = {
    permissionDecision: "deny",
    permissionDecisionReason: expect.stringMatching(
      /^large\.log is about 24,000 tokens\..* To read all of it: offset and limit, or "\| cat"\.$/,
    ),
  };
  expect(answer(file, mode)).toEqual(refused);
  expect(answer({ command: "cat large.log" }, mode)).toEqual(refused);
  for (const way of [
    { ...file, offset: 1, limit: 9_000 },
    { command: "cat large.log | cat" },
    { file_path: "small.log" },
  ])
    expect(answer(way, mode)).toBeUndefined();
  for (const given of [file, { subagent_type: "ollm-test" }])
    expect(answer(given, { OLLM_HOOK: "off" })).toBeUndefined();
});

test.each([
  ["a small file", { file_path: "small.log" }],
  ["a part of a file", { file_path: "large.log", limit: 100 }],
  ["a file that is not there", { file_path: "none.log" }],
  ["a file outside the working directory, which the server may not read", { file_path: "../outside.log" }],
  ["a picture", { file_path: "picture.png" }],
  ["a PDF", { file_path: "paper.pdf" }],
  ["a command that reads a part", { command: "cat large.log | head" }],
  ["a command with a substitution", { command: "cat $(ls)" }],
  ["another command", { command: "ls" }],
  ["git with an option", { command: "git diff --output=x" }],
  ["a folder", { file_path: "." }],
])("nothing is said of %s", (_what, input) => {
  expect(hint(input)).toBeUndefined();
});

test.each([
  ["none is installed", '{"models":[]}'],
  ["its engine did not respond", '{"models":[{"name":"smollm2:135m","isAway":true}]}'],
  ["the daemon could not tell", "{}"],
  ["no daemon has listed models in this home", undefined],
])("nothing is said without a model: %s", async (_why, summary) => {
  const file = join(folder, "summary.json");
  await (summary === undefined ? rm(file) : writeFile(file, summary));
  expect(hint({ file_path: "large.log" })).toBeUndefined();
});

test.each([undefined, "https://api.anthropic.com", "https://api.anthropic.com:443/x"])(
  "an agent on a local model is refused where the service would get its task: ANTHROPIC_BASE_URL %s",
  (address) => {
    const given = answer({ subagent_type: "ollm-fast", prompt: "Say hi." }, { ANTHROPIC_BASE_URL: address });
    expect(given).toMatchObject({ permissionDecision: "deny" });
    expect(JSON.stringify(given)).toContain("nothing was sent");
  },
);

test.each([
  ["ollm-fast", "http://127.0.0.1:7411"],
  ["ollm-fast", "https://gateway.example.com/anthropic.com/"],
  ["ollm-fast", "https://notanthropic.com"],
  ["general-purpose", undefined],
  ["my-ollm-fast", undefined],
])("agent %s at %s is left alone", (subagent_type, address) => {
  expect(answer({ subagent_type }, { ANTHROPIC_BASE_URL: address })).toBeUndefined();
});

test.each([
  "",
  "no JSON",
  "{}",
  "[]",
  '{"cwd":1,"tool_input":{}}',
  '{"cwd":"/none","tool_input":{"command":"git diff"}}',
])("%j is passed over", (given) => {
  expect(hookAnswer(given, folder, {})).toBeUndefined();
});

test("a large diff is counted by git, and named as files takes it", async () => {
  const git = (...words: readonly string[]) =>
    execFileSync("git", ["-c", "user.name=me", "-c", "user.email=me@example.com", ...words], {
      cwd: join(folder, "work"),
    });
  git("init", "-q");
  git("add", "small.log");
  git("commit", "-qm", "start");
  await writeFile(join(folder, "work", "small.log"), large);
  expect(ofCommand("git diff")).toContain("git diff is about 25,000 tokens. If a summary");
  expect(ofCommand("git diff HEAD")).toContain('files ["git:diff:HEAD"]');
  // A name of a file is none of a commit.
  expect(ofCommand("git diff small.log")).toBeUndefined();
  expect(ofCommand("git diff --staged")).toBeUndefined();
  git("add", "small.log");
  expect(ofCommand("git diff --cached")).toContain('files ["git:staged"]');
  git("commit", "-qm", "more");
  expect(ofCommand("git show")).toContain('files ["git:show:HEAD"]');
});
