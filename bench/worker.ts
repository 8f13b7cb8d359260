import { mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { countTokens } from "gpt-tokenizer/encoding/o200k_base";
import { runSandboxed } from "../src/server/files/sandbox.ts";
import { createWorkspace } from "../src/server/files/workspace.ts";
import { installedEngine } from "../test/support/engine.ts";
import { smolLm2 } from "../test/support/weights.ts";
import { escapes, obeyed, waysOut } from "../test/support/worker-escapes.ts";
import type { Bench } from "./bench.ts";
import { withCleanEnvironment } from "./support/environment.ts";
import type { LineClient } from "./support/line-client.ts";
import { withDaemon } from "./support/programs.ts";
import { percentile, rounded } from "./support/statistics.ts";
import type { WorkerTask } from "./worker-orders.ts";
import { humanEvalTasks, workerTasks } from "./worker-tasks.ts";

const bars = { falseAccepts: 0, tokens: 300, unanswered: 0 } as const;
const limits = { max_turns: 12, max_seconds: 300 } as const;
const questions = 10;
const never = new AbortController().signal;

type Data = Readonly<Record<string, unknown>>;
type Row = Readonly<Record<"what" | "unit" | "bar", string> & { readonly value: number }>;
type Caller = ReturnType<typeof caller>;

export const worker: Bench = {
  name: "worker",
  summary: `delegate: ${workerTasks.length} tasks in six families, ${waysOut.length + obeyed.length + escapes.length} ways out of the copy, and a question beside two workers`,
  options: ["weights", "part", "tasks", "humaneval"],
  help: [
    "--weights FILE.gguf instead of SmolLM2-135M. --part tasks|escapes|share: one of the three. --tasks N: only so many, spread over",
    "the families, or NAME: those whose name begins so (sql, code-3). --humaneval FILE: its problems (JSON lines) in place of our own tasks; nothing is downloaded. Commands need",
    "bubblewrap (OLLM_TEST_SANDBOX: a folder that has it) and checks in SQL Python; without bubblewrap no task can be verified.",
    "tasks: the share of tasks that a worker solved, by family; false accepts: verified, but the check fails when it is run again on",
    `what was applied (bar ${bars.falseAccepts}); o200k tokens of calls and answers for the assistant, the most of one task (bar ${bars.tokens}). escapes: names and`,
    `commands that were not refused (bar 0). share: p95 of ${questions} questions to the same model beside two workers ÷ without, questions`,
    `without an answer (bar ${bars.unanswered}) and turns of the workers meanwhile (bar 1).`,
  ].join("\n"),
  async run({ weights, part, tasks, humaneval }) {
    const probe = { command: ["true"], folder: await realpath(tmpdir()), homeDirectory: homedir(), timeout: 10 };
    const sandbox = await runSandboxed(probe, never).then(
      () => true,
      () => false,
    );
    const escaped = part === undefined || part === "escapes" ? await escapeRows(sandbox) : [];
    if (part === "escapes") return result(escaped);
    const all = humaneval === undefined ? workerTasks : humanEvalTasks(await readFile(humaneval, "utf8"));
    const named = all.filter(({ name }) => tasks !== undefined && name.startsWith(tasks));
    const chosen = named.length > 0 ? named : spread(all, tasks === undefined ? all.length : Number(tasks));
    const rows = await withModel(weights, async (call, root, model) => [
      ...(part === "share" ? [] : await taskRows(call, root, model, chosen, sandbox)),
      ...(part === "tasks" ? [] : await shareRows(call, root, model)),
    ]);
    return result([...rows, ...escaped]);
  },
};

function result(rows: readonly Row[]) {
  const missed = rows.filter(({ value, bar }) => {
    const [sign, limit] = bar.split(" ");
    return limit !== undefined && (sign === "≥" ? value < Number(limit) : value > Number(limit));
  });
  return {
    rows,
    verdict: missed.length === 0 ? "all bars are reached" : `missed: ${missed.map(({ what }) => what).join(", ")}`,
    passed: missed.length === 0,
  };
}

function spread<Item>(items: readonly Item[], count: number): readonly Item[] {
  const step = items.length / Math.min(count, items.length);
  return items.filter((_, at) => Math.floor(at / step) !== Math.floor((at - 1) / step));
}

async function withModel(
  weights: string | undefined,
  work: (call: Caller, root: string, model: string) => Promise<readonly Row[]>,
): Promise<readonly Row[]> {
  const { file, reason } = weights === undefined ? await smolLm2() : { file: resolve(weights), reason: undefined };
  if (file === undefined) throw new Error(`no weights to measure: ${reason}`);
  const { enginesFolder } = await installedEngine();
  return withCleanEnvironment(async (environment) => {
    const home = environment["OLLM_HOME"] ?? "";
    const root = join(await realpath(environment["HOME"] ?? ""), "root");
    await mkdir(home, { recursive: true });
    await mkdir(root);
    await symlink(enginesFolder, join(home, "engines"), "junction");
    const sandbox = process.env["OLLM_TEST_SANDBOX"];
    const workers = {
      mjs: { verify: ["node", "check.mjs"], timeout: 30 },
      py: { verify: ["python3", "check.py"], timeout: 30 },
    };
    const own = {
      ...environment,
      OLLM_PROVIDERS_OLLAMA_ENABLED: "false",
      OLLM_FILES_ROOTS: root,
      OLLM_TOOLS_SETS: "all",
      OLLM_WORKERS: JSON.stringify(workers),
      ...(sandbox !== undefined && { OLLM_TEST_SANDBOX: sandbox }),
    };
    const model = basename(file, ".gguf");
    return withDaemon(
      own,
      async (client) => {
        const call = caller(client);
        await call("pull_model", { model, from: file, engine: "llama-cpp" });
        return work(call, root, model);
      },
      root,
    );
  });
}

function caller(client: LineClient) {
  return async (name: string, args: Data): Promise<Data> => {
    const { result: answer, error } = await client.request("tools/call", { name, arguments: args });
    if (answer?.isError !== true && answer?.structuredContent !== undefined) return answer.structuredContent;
    throw new Error(`${name}: ${JSON.stringify(answer ?? error)}`);
  };
}

interface Ended {
  readonly state: string;
  readonly summary: string;
  readonly tokens: number;
  readonly seconds: number;
}

/** One task, from the call to the applied diff, with the tokens that an assistant has read and written. */
async function done(call: Caller, root: string, model: string, task: WorkerTask, sandbox: boolean): Promise<Ended> {
  const startedAt = performance.now();
  await writeTask(root, task);
  const name = task.check.endsWith(".py") ? "py" : "mjs";
  const asked = { task: task.task, files: [task.name], model, ...limits, ...(sandbox && { worker: name }) };
  const begun = await call("delegate", asked);
  const wait = { action: "wait", job_id: begun["job"] };
  let answer: Data;
  // A client that waits as long as there is progress waits once.
  do answer = await call("job", wait);
  while (answer["state"] === "running");
  const exchanged: unknown[] = [asked, begun, wait, answer];
  const {
    state = String(answer["state"]),
    summary = "",
    tried,
  } = (answer["result"] ?? {}) as {
    readonly state?: string;
    readonly summary?: string;
    readonly tried?: readonly string[];
  };
  if (state === "verified") {
    const apply = { apply: begun["job"] };
    exchanged.push(apply, await call("delegate", apply));
  }
  const tokens = exchanged.reduce<number>((sum, each) => sum + countTokens(JSON.stringify(each)), 0);
  return {
    state,
    summary: [summary, ...(tried ?? [])].join("\n  "),
    tokens,
    seconds: (performance.now() - startedAt) / 1_000,
  };
}

async function writeTask(root: string, { name, files }: WorkerTask): Promise<void> {
  await mkdir(join(root, name), { recursive: true });
  for (const [file, text] of Object.entries(files)) await writeFile(join(root, name, file), text);
}

/** Whether the check, as it was written, passes on what was applied. */
async function passesAgain(folder: string, { check, files }: WorkerTask): Promise<boolean> {
  await writeFile(join(folder, check), files[check] ?? "");
  const command = [check.endsWith(".py") ? "python3" : "node", check];
  const { how, failure } = await runSandboxed({ command, folder, homeDirectory: homedir(), timeout: 60 }, never);
  return how === undefined && failure === undefined;
}

async function taskRows(
  call: Caller,
  root: string,
  model: string,
  tasks: readonly WorkerTask[],
  sandbox: boolean,
): Promise<readonly Row[]> {
  const ended: (Ended & { readonly family: string; readonly isFalse: boolean })[] = [];
  for (const task of tasks) {
    const end = await done(call, root, model, task, sandbox);
    const isVerified = end.state === "verified" && sandbox;
    const isFalse = isVerified && !(await passesAgain(join(root, task.name), task));
    ended.push({ ...end, family: task.family, isFalse });
    process.stderr.write(
      `${task.name}: ${end.state}${isFalse ? ", FALSE: its check fails" : ""}, ${Math.round(end.seconds)} s, ${end.tokens} tokens; ${end.summary}\n`,
    );
  }
  const share = (some: typeof ended) =>
    rounded(some.filter(({ state, isFalse }) => state === "verified" && !isFalse).length / Math.max(1, some.length), 2);
  const families = [...new Set(ended.map(({ family }) => family))];
  const row = (what: string, value: number, unit: string, bar = ""): Row => ({ what, value, unit, bar });
  return [
    ...families.map((family) =>
      row(
        `${model}: ${family} solved`,
        share(ended.filter((each) => each.family === family)),
        `of ${ended.filter((each) => each.family === family).length}`,
      ),
    ),
    row(`${model}: all solved`, share(ended), `of ${ended.length}`),
    row("false accepts", ended.filter(({ isFalse }) => isFalse).length, "", `≤ ${bars.falseAccepts}`),
    row(
      "most tokens of a task for the assistant",
      Math.max(...ended.map(({ tokens }) => tokens)),
      "",
      `≤ ${bars.tokens}`,
    ),
    row(
      "median time of a task",
      rounded(
        percentile(
          ended.map(({ seconds }) => seconds),
          50,
        ),
      ),
      "s",
    ),
    row("commands of checks were run", sandbox ? 1 : 0, "of 1"),
  ];
}

/** Names that lead out of a copy, what other programs obey, and commands: how many are not refused. */
async function escapeRows(sandbox: boolean): Promise<readonly Row[]> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), "ollm-escapes-")));
  try {
    const [home, base] = [join(folder, "home"), join(folder, "tree")];
    await Promise.all([home, join(base, "src")].map((each) => mkdir(each, { recursive: true })));
    await writeFile(join(base, "src", "a.ts"), "1\n");
    await writeFile(join(folder, "secret.txt"), "secret");
    const git = { environment: {}, homeDirectory: folder, signal: never };
    const verify = ["sh", "-c", ""];
    const verifier = { name: "escape", verify, timeout: 20 };
    const copy = await createWorkspace({ home, id: "delegate-00000000", base, names: ["src/a.ts"], git, verifier });
    const isRefused = (work: Promise<unknown>) =>
      work.then(
        () => false,
        () => true,
      );
    let through = 0;
    for (const [, name] of waysOut) {
      for (const work of [copy.read(name), copy.write(name, "x"), copy.edit(name, "1", "2")])
        if (!(await isRefused(work))) through += 1;
    }
    for (const name of obeyed) if (!(await isRefused(copy.write(name, "x")))) through += 1;
    let ran = 0;
    process.env["OLLM_TEST_SECRET"] = "OLLM_TEST_SECRET";
    for (const [, script] of sandbox ? escapes : []) {
      verify[2] = script({ folder, port: 9 });
      if ((await copy.run(never)).passed) ran += 1;
    }
    return [
      {
        what: `names that were not refused, of ${waysOut.length + obeyed.length}`,
        value: through,
        unit: "",
        bar: "≤ 0",
      },
      {
        what: `commands that escaped, of ${sandbox ? escapes.length : 0}`,
        value: ran,
        unit: "",
        bar: "≤ 0",
      },
    ];
  } finally {
    delete process.env["OLLM_TEST_SECRET"];
    await rm(folder, { recursive: true, force: true });
  }
}

/** Questions to a model that two workers use, too. */
async function shareRows(call: Caller, root: string, model: string): Promise<readonly Row[]> {
  let unanswered = 0;
  const ask = async (): Promise<number> => {
    const times: number[] = [];
    for (let at = 0; at < questions; at += 1) {
      const startedAt = performance.now();
      const asked = { prompt: `What is ${at} + ${at}?`, model, max_tokens: 16, temperature: 0 };
      await call("route_and_generate", asked).catch(() => (unanswered += 1));
      times.push(performance.now() - startedAt);
    }
    return percentile(times, 95);
  };
  await ask();
  const alone = await ask();
  const tasks = workerTasks.filter(({ family }) => family === "code").slice(0, 2);
  const jobs: unknown[] = [];
  for (const task of tasks) {
    await writeTask(root, task);
    const begun = await call("delegate", {
      task: task.task,
      files: [task.name],
      model,
      max_turns: 100,
      max_seconds: 600,
    });
    jobs.push(begun["job"]);
  }
  const beside = await ask();
  let turns = 0;
  for (const job of jobs) {
    const status = await call("job", { action: "status", job_id: job });
    const { message = "" } = (status["progress"] ?? {}) as { readonly message?: string };
    // A worker that has ended by now was not starved, either.
    turns += status["state"] === "running" ? Number(/^turn (\d+)/.exec(message)?.[1] ?? 0) : 1;
    await call("job", { action: "cancel", job_id: job }).catch(() => undefined);
  }
  return [
    { what: "p95 of a question without workers", value: rounded(alone), unit: "ms", bar: "" },
    { what: "p95 beside two workers ÷ without", value: rounded(beside / alone, 2), unit: "×", bar: "" },
    { what: "questions without an answer", value: unanswered, unit: "", bar: `≤ ${bars.unanswered}` },
    { what: "turns of the workers meanwhile", value: turns, unit: "", bar: "≥ 1" },
  ];
}
