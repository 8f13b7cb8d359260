import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, realpath, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { afterEach, expect, it } from "vitest";
import { createWorkspace } from "../../src/server/files/workspace.ts";
import { useBundled } from "../support/bundled.ts";
import { makeDaemonHome, type DaemonHome } from "../support/daemon-home.ts";
import { builtCommand } from "../support/stdio-client.ts";
import { hasSandbox, workId } from "../support/work-copy.ts";

const program = useBundled(new URL("../support/apply-process.ts", import.meta.url));

const { OLLM_TEST_SANDBOX: folderOfSandbox } = process.env;
const sandbox = folderOfSandbox === undefined ? undefined : { OLLM_TEST_SANDBOX: folderOfSandbox };

let daemon: DaemonHome;
let tree: string;
afterEach(() => daemon.close());

const schema = { type: "object", required: ["total"], properties: { total: { const: 12 } } };

type Call = readonly [name: string, parameters: object];

/** A tree whose worker `sum` must write `{"total": 12}`, and a model that answers in turn, the last answer again and again. */
async function setUp(calls: readonly Call[]) {
  let asked = 0;
  const json = (): string => {
    const [name, parameters] = calls[Math.min(asked++, calls.length - 1)] ?? [];
    return JSON.stringify({ name, parameters });
  };
  const workers = JSON.stringify({ sum: { schema, file: "sum.json" } });
  const capabilities = ["completion", "tools"] as const;
  const models = [{ name: "small:1b", capabilities, json }];
  daemon = await makeDaemonHome({ OLLM_WORKERS: workers, ...sandbox }, { models });
  tree = path.join(daemon.folder, "tree");
  await mkdir(tree);
  await writeFile(path.join(tree, "prices.csv"), "price\n5\n7\n");
}

async function ollm(...words: readonly string[]) {
  const run = promisify(execFile)(process.execPath, [builtCommand, ...words], { env: daemon.environment, cwd: tree });
  run.child.stdin?.end();
  const failed = (error: unknown) =>
    error as { readonly stdout: string; readonly stderr: string; readonly code: number };
  return run.then((output) => ({ ...output, code: 0 }), failed);
}

const write = (total: number): Call => ["write", { path: "sum.json", text: `{"total": ${total}}` }];
const done: Call = ["done", { summary: "Summed." }];

it("applies what a check has verified, and says what was done", async () => {
  await setUp([write(11), done, write(12), done]);
  const { stdout, stderr, code } = await ollm("delegate", "sum the prices", "--worker", "sum", "--apply");
  expect([code, stderr.replaceAll(/\s+/g, " ")]).toEqual([
    0,
    expect.stringMatching(
      /1 file changed, \+1 -0: sum\.json \(new\); verified by sum \(sum\.json matches its schema\); small:1b, 4 turns, .* applied to 1 file: sum\.json/,
    ),
  ]);
  expect(stdout).toContain('+{"total": 12}');
  expect(await readFile(path.join(tree, "sum.json"), "utf8")).toBe('{"total": 12}');
});

// Bubblewrap is not installed everywhere: OLLM_TEST_SANDBOX names a folder that has it.
it.skipIf(!hasSandbox)("runs a check of the command line in a sandbox, without asking about it again", async () => {
  await setUp([write(11), done, write(12), done]);
  const check = "grep -q 12 sum.json && ! test -e /etc/passwd";
  const { stderr, code } = await ollm("delegate", "sum the prices", "--verify", check, "--files", ".", "--apply");
  expect([code, stderr.replaceAll(/\s+/g, " ")]).toEqual([
    0,
    expect.stringMatching(
      /verified by sh -c "grep.* \(exit code 0\); small:1b, 4 turns, .* applied to 1 file: sum\.json/,
    ),
  ]);
});

it("hands a task back with the last failure, and changes nothing", async () => {
  await setUp([write(11), done]);
  const { stdout, stderr, code } = await ollm("delegate", "sum the prices", "--worker", "sum", "--apply");
  expect([stdout, code]).toEqual(["", 1]);
  expect(stderr.replaceAll(/\s+/g, " ")).toContain(
    "Do this yourself: it went in circles: the same call with the same result three times; the last run of sum: sum.json does not match its schema",
  );
  await expect(readFile(path.join(tree, "sum.json"), "utf8")).rejects.toThrow("ENOENT");
});

it("applies nothing that no check has verified without a yes, and prints JSON", async () => {
  await setUp([write(11), done]);
  const { stdout, code } = await ollm("delegate", "sum the prices", "--apply", "--json");
  expect([JSON.parse(stdout), code]).toMatchObject([
    { state: "unverified", files: [{ path: "sum.json", kind: "added" }] },
    3,
  ]);
  await expect(readFile(path.join(tree, "sum.json"), "utf8")).rejects.toThrow("ENOENT");
});

it.skipIf(process.platform === "win32")(
  "undoes what a killed process had begun to apply when the home is opened again",
  async () => {
    await setUp([done]);
    const { home, folder } = daemon;
    const base = await realpath(tree);
    await ollm("ps");
    await ollm("daemon", "stop");
    await writeFile(path.join(base, "notes.txt"), "old\n");
    const git = { environment: process.env, homeDirectory: folder, signal: new AbortController().signal };
    const copy = await createWorkspace({ home, id: workId, base, names: ["notes.txt", "prices.csv"], git });
    for (const name of ["notes.txt", "prices.csv"]) await copy.write(name, "new\n");
    await copy.keep(git.signal);
    await once(spawn(process.execPath, [program(), home, base, workId, "1"], { stdio: "ignore" }), "exit");
    const texts = () => Promise.all(["notes.txt", "prices.csv"].map((name) => readFile(path.join(base, name), "utf8")));
    expect(await texts()).toEqual(["new\n", "price\n5\n7\n"]);
    await ollm("ps");
    expect(await texts()).toEqual(["old\n", "price\n5\n7\n"]);
  },
);
