import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { Cancelled, InvalidRequest } from "../../../src/orchestrator/api/errors.ts";
import { settingsSchema } from "../../../src/orchestrator/config/schema.ts";
import { eventually } from "../../support/eventually.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { isRunning } from "../../support/is-running.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const small = fakeModel("llama3.2:1b", gigabyte, { parameterSize: "1B" });
const large = fakeModel("llama3.1:8b", 5 * gigabyte, { parameterSize: "8B" });

/** A folder of the test, for what a command notes. */
async function notes(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "command-test-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

/** A command that runs this script with Node; the answer's file is `process.argv.at(-1)`. */
async function script(code: string, more: object = {}) {
  const folder = await notes();
  const file = join(folder, "check.mjs");
  await writeFile(file, `import fs from "node:fs";\nconst file = process.argv.at(-1);\n${code}`);
  return { folder, checks: { own: { command: [process.execPath, file, "--strict"], ...more } } };
}

function setUp(checks: object, answers: Readonly<Record<string, readonly string[]>>) {
  const engine = createFakeEngine("ollama", [small, large]);
  const counts = new Map<string, number>();
  const prompts: string[] = [];
  engine.answer = ({ model, messages }) => {
    prompts.push(messages.at(-1)?.content ?? "");
    const count = counts.get(model) ?? 0;
    counts.set(model, count + 1);
    const own = answers[model] ?? [];
    return Promise.resolve({ text: own[Math.min(count, own.length - 1)] ?? "" });
  };
  const settings = { model: { default: small.name }, checks };
  return { engine, prompts, ...createTestOrchestrator([engine], { settings }) };
}

const check = { command: "own" };

describe("the check of a command", () => {
  it("passes with exit code 0: the program has the answer in a file, alone in a folder that is gone afterwards", async () => {
    const { checks, folder } = await script(
      `fs.writeFileSync(new URL("seen.json", import.meta.url), JSON.stringify({
        file, answer: fs.readFileSync(file, "utf8"), cwd: process.cwd(), files: fs.readdirSync("."), args: process.argv.slice(2),
        env: process.env }));`,
      { file: "answer.py" },
    );
    process.env["OLLM_TEST_SECRET"] = "secret";
    onTestFinished(() => void delete process.env["OLLM_TEST_SECRET"]);
    const { generate } = setUp(checks, { [small.name]: ["print(1)"] });
    const result = await generate({ check });
    expect(result).toMatchObject({ text: "print(1)", model: small.name, check: { kind: "command", statements: [] } });
    expect(result.check?.problem).toBeUndefined();
    const seen = JSON.parse(await readFile(join(folder, "seen.json"), "utf8")) as Record<string, never>;
    expect(seen).toMatchObject({ answer: "print(1)", files: ["answer.py"], args: ["--strict", seen["file"]] });
    expect(existsSync(dirname(seen["file"] ?? ""))).toBe(false);
    expect(Object.keys(seen["env"] ?? {})).not.toContain("OLLM_TEST_SECRET");
    expect(JSON.stringify(seen["env"])).not.toContain(process.env["HOME"] ?? "no home");
  });

  it("that fails is corrected once by the same model, which sees what was printed", async () => {
    const { checks } = await script(
      `if (!fs.readFileSync(file, "utf8").includes("return")) { console.error("no return in " + file); process.exit(3); }`,
    );
    const { generate, prompts } = setUp(checks, { [small.name]: ["def f(): 1", "def f(): return 1"] });
    const result = await generate({ check });
    expect(result).toMatchObject({ text: "def f(): return 1", model: small.name });
    expect(result.check?.problem).toBeUndefined();
    expect(prompts[1]).toMatch(/^You gave an answer that did not pass own \(exit code 3\): no return in answer\.txt\n/);
    expect(result.notes).toContain("models answered 2 times for the check: the tokens are those of all");
  });

  it("that fails again is asked of a larger model, then returned with what was printed", async () => {
    const { checks } = await script(`console.log("never"); process.exit(1);`);
    const { generate, engine } = setUp(checks, { [small.name]: ["a"], [large.name]: ["b"] });
    const { check: found, text } = await generate({ check });
    expect(found).toMatchObject({ kind: "command", statements: [] });
    expect(found?.problem).toContain("did not pass own (exit code 1): never; no stronger model is left");
    expect(text).toBe("a");
    expect(engine.calls.filter((call) => call.startsWith("generate"))).toHaveLength(4);
  });

  it("is ended with what it started when its time is over", async () => {
    const { checks, folder } = await script(
      `const { spawn } = await import("node:child_process");
       const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "inherit" });
       fs.writeFileSync(new URL("pids", import.meta.url), process.pid + " " + child.pid);
       setInterval(() => {}, 1000);`,
      { timeout: 1 },
    );
    const { generate } = setUp(checks, { [small.name]: ["a"] });
    const { check: found } = await generate({ check, model: small.name });
    expect(found?.problem).toContain("did not pass own (it did not end within 1 s)");
    const pids = (await readFile(join(folder, "pids"), "utf8")).split(" ").map(Number);
    await eventually(() => expect(pids.filter((pid) => isRunning(pid))).toEqual([]));
  });

  it("is ended when the request is cancelled", async () => {
    const { checks, folder } = await script(
      `fs.writeFileSync(new URL("pid", import.meta.url), String(process.pid)); setInterval(() => {}, 1000);`,
    );
    const { orchestrator, caller } = setUp(checks, { [small.name]: ["a"] });
    const abort = new AbortController();
    const operation = await orchestrator.generate(caller(), { prompt: "hello", check });
    const answer = operation.follow(abort.signal);
    const pidOf = () => readFile(join(folder, "pid"), "utf8");
    await eventually(async () => expect(Number(await pidOf())).toBeGreaterThan(0));
    abort.abort();
    await expect(answer).rejects.toBeInstanceOf(Cancelled);
    await eventually(async () => expect(isRunning(Number(await pidOf()))).toBe(false));
  });

  it("keeps little of what is printed, without control characters", async () => {
    const { checks } = await script(`process.stdout.write("\\u001b[31m" + "x".repeat(500000)); process.exitCode = 1;`);
    const { generate } = setUp(checks, { [small.name]: ["a"] });
    const { check: found } = await generate({ check, model: small.name });
    expect(found?.problem?.length).toBeLessThan(2_200);
    expect(found?.problem).not.toContain("\u001b");
  });

  it("that can't be started says that nothing was checked, and asks no other model", async () => {
    const { generate, engine } = setUp(
      { own: { command: [join(tmpdir(), "no", "program")] } },
      { [small.name]: ["a"] },
    );
    const { check: found, text } = await generate({ check });
    expect(text).toBe("a");
    expect(found?.problem).toMatch(/^the answer was not checked: own could not be started \(.*ENOENT/);
    expect(engine.calls.filter((call) => call.startsWith("generate"))).toHaveLength(1);
  });

  it("that the settings don't name is refused before a model is asked, and so is its plan", async () => {
    const { generate, orchestrator, caller, engine } = setUp({}, {});
    const failure = await generate({ check }).catch((error: unknown) => error as InvalidRequest);
    expect(failure).toBeInstanceOf(InvalidRequest);
    expect((failure as InvalidRequest).message).toBe('no command is named "own": the setting checks names none');
    const plan = orchestrator.planGeneration(caller(), { prompt: "hello", check: { command: "toString" } });
    await expect(plan).rejects.toThrow('no command is named "toString"');
    expect(engine.calls).toEqual([]);
  });

  it("is named by the absolute path of a program, and its file lies in its folder", () => {
    const allowed = (own: object) => settingsSchema.safeParse({ checks: { own } }).success;
    expect(allowed({ command: ["/usr/bin/true"] })).toBe(true);
    expect(allowed({ command: ["C:\\tools\\lint.exe", "--strict"] })).toBe(true);
    for (const command of [[], [""], ["lint"], ["./lint"], ["node_modules/.bin/eslint"]])
      expect(allowed({ command }), command[0]).toBe(false);
    for (const file of ["../a", "a/b", "a\\b", "..", ""]) expect(allowed({ command: ["/bin/true"], file })).toBe(false);
  });
});
