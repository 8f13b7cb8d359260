import { execFile } from "node:child_process";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { afterEach, expect, it } from "vitest";
import { makeDaemonHome, type DaemonHome } from "../support/daemon-home.ts";
import { builtCommand } from "../support/stdio-client.ts";

const run = promisify(execFile);

let daemon: DaemonHome;
afterEach(() => daemon.close());

async function ollm(
  ...words: readonly string[]
): Promise<{ readonly code: number; readonly out: string; readonly error: string }> {
  const { environment, folder } = daemon;
  try {
    const { stdout, stderr } = await run(process.execPath, [builtCommand, ...words], { env: environment, cwd: folder });
    return { code: 0, out: stdout, error: stderr };
  } catch (failed) {
    const { code, stdout, stderr } = failed as { code: number; stdout: string; stderr: string };
    return { code, out: stdout, error: stderr };
  }
}

it("shows which model is right, lets its profile prefer it, and is listed, shown and deleted", async () => {
  const models = [
    { name: "good:1b", reply: "51" },
    { name: "bad:1b", reply: "About fifty." },
  ];
  daemon = await makeDaemonHome({}, { models });
  const cases = path.join(daemon.folder, "cases");
  await mkdir(cases);
  const lines = Array.from({ length: 6 }, (_, index) =>
    JSON.stringify({ prompt: `Sum ${index}?`, expected: 51, task: "reasoning" }),
  );
  await writeFile(path.join(cases, "sums.jsonl"), lines.join("\n"));
  await writeFile(path.join(cases, "notes.txt"), "Which number?");
  await writeFile(path.join(cases, "notes.expected.txt"), "51\n");
  await writeFile(path.join(cases, "picture.bmp"), "none");

  expect((await ollm("eval")).out).toContain("No eval yet");
  const { code, out, error } = await ollm("eval", "cases", "--use", "--yes");
  expect({ code, error }).toMatchObject({ code: 0 });
  expect(out).toMatch(/reasoning +good:1b +6 of 6 +61 % to 100 % /);
  expect(out).toMatch(/all +bad:1b +0 of 7 +0 % to 35 % /);
  expect(out).toContain(
    "reasoning: good:1b is better than bad:1b: 6 cases that only it got right, 0 that only bad:1b did (p = 0.031)",
  );
  expect(out).toContain("all: good:1b is better than bad:1b: 7 cases");
  expect(out).toContain("7 cases: 7 by values; interval: 95 %, Wilson");
  expect(out).toContain("picture.bmp is no case, and no case names it");
  expect(out).toContain("bad:1b: is not 51 (About fifty.)");
  expect(error).toContain(
    "profiles.reasoning.models: none → good:1b\nchanged; to undo: ollm config unset profiles.reasoning.models",
  );
  expect(await readFile(path.join(daemon.home, "config.yaml"), "utf8")).toContain("good:1b");

  const { evals } = JSON.parse((await ollm("eval", "--json")).out) as { evals: { id: string; answered: number }[] };
  expect(evals).toMatchObject([{ answered: 14, cases: 7, is_running: false }]);
  const id = evals[0]?.id ?? "";
  expect((await ollm("eval")).out).toMatch(new RegExp(`${id} +sums.jsonl and \\d more \\(7\\)|${id} +.*\\(7\\)`));
  expect((await ollm("eval", "show", id)).out).toContain("0 % to 35 %");
  if (process.platform !== "win32") {
    expect((await stat(path.join(daemon.home, "evals.journal"))).mode & 0o777).toBe(0o600);
  }
  expect((await ollm("eval", "rm", id)).out).toBe(`Deleted ${id}\n`);
  expect(await ollm("eval", "show", id)).toMatchObject({ code: 1, error: expect.stringContaining(`no eval ${id}`) });
});

it("names what is wrong with cases by file and line, and asks nothing", async () => {
  daemon = await makeDaemonHome();
  const file = path.join(daemon.folder, "cases.jsonl");
  await writeFile(file, '{"prompt": "a", "expected": 1}\n{"prompt": "b", "expects": 1}\n');
  const wrong = await ollm("eval", "cases.jsonl");
  expect(wrong).toMatchObject({
    code: 1,
    error: expect.stringContaining('cases.jsonl:2 is no case: Unrecognized key: "expects"'),
  });
  await writeFile(file, "");
  expect(await ollm("eval", "cases.jsonl")).toMatchObject({
    code: 1,
    error: expect.stringContaining("there is no case in"),
  });
  expect(await ollm("eval", "nonesuch.jsonl")).toMatchObject({
    code: 2,
    error: expect.stringContaining("was not found"),
  });
  expect(daemon.ollama.requests.filter(({ path: asked }) => asked === "/api/chat")).toEqual([]);

  // A pattern means all of its files.
  await mkdir(path.join(daemon.folder, "docs"));
  for (const name of ["first", "second"])
    await writeFile(path.join(daemon.folder, "docs", `${name}.md`), `the ${name}`);
  await writeFile(file, '{"prompt": "Which?", "files": "docs/*.md", "contains": "sky"}\n');
  expect(await ollm("eval", "cases.jsonl")).toMatchObject({ code: 0 });
  const [asked] = daemon.ollama.requests.filter(({ path: called }) => called === "/api/chat");
  expect(JSON.stringify(asked?.body)).toMatch(/the first.*the second/);
});
