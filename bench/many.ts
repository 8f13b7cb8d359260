import { copyFile, mkdir, readFile, readdir, stat, symlink, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { countTokens } from "gpt-tokenizer/encoding/o200k_base";
import { setTimeout as pause } from "node:timers/promises";
import { newestClaim } from "../src/ipc/claim-record.ts";
import { installedEngine } from "../test/support/engine.ts";
import { smolLm2 } from "../test/support/weights.ts";
import type { Bench } from "./bench.ts";
import { withCleanEnvironment } from "./support/environment.ts";
import type { LineClient } from "./support/line-client.ts";
import { withDaemon } from "./support/programs.ts";
import { percentile, rounded } from "./support/statistics.ts";

const repository = fileURLToPath(new URL("..", import.meta.url));
const files = 200;
const kills = 2;
const questions = 20;
const facts = 20;
/** Each question then finds the batch at work. */
const betweenMs = 700;
const bars = { beside: 1.15, recall: 0.9, tokens: 400 } as const;
const limitMs = 3_600_000;

type Data = Readonly<Record<string, unknown>>;
type Row = Readonly<Record<"what" | "unit", string> & { readonly value: number; readonly bar: string }>;

export const many: Bench = {
  name: "many",
  summary: `${files} files with a daemon killed ${kills} times, a question beside them, and ${facts} facts planted in 300 kB`,
  options: ["weights", "part"],
  help: [
    "--weights FILE.gguf instead of SmolLM2-135M. --part kills|facts: one of the two.",
    `kills: of ${files} answers, those lost and those given twice (bar 0); the p95 of ${questions} questions to the same model beside`,
    `the batch ÷ without it (bar ${bars.beside}). facts: recall of pairs of name and code (bar ${bars.recall}), the share of found pairs`,
    `whose line is that of the fact, and o200k tokens of call and answers for the assistant (bar ${bars.tokens}).`,
  ].join("\n"),
  async run({ weights, part }) {
    const { file, reason } = weights === undefined ? await smolLm2() : { file: resolve(weights), reason: undefined };
    if (file === undefined) throw new Error(`no weights to measure: ${reason}`);
    const { enginesFolder } = await installedEngine();
    return withCleanEnvironment(async (environment) => {
      const home = environment["OLLM_HOME"] ?? "";
      const root = join(environment["HOME"] ?? "", "root");
      await mkdir(home, { recursive: true });
      await mkdir(root);
      await symlink(enginesFolder, join(home, "engines"), "junction");
      const own = { ...environment, OLLM_PROVIDERS_OLLAMA_ENABLED: "false", OLLM_FILES_ROOTS: root };
      const model = basename(file, ".gguf");
      const rows = await withDaemon(
        own,
        async (client) => {
          const call = caller(client);
          await call("pull_model", { model, from: file, engine: "llama-cpp" });
          const killed = part === "facts" ? [] : await besideAndKilled(call, { home, root, model });
          return [...killed, ...(part === "kills" ? [] : await plantedFacts(call, root, model))];
        },
        root,
      );
      const missed = rows.filter(({ value, bar }) => !isReached(value, bar));
      return {
        rows,
        verdict: missed.length === 0 ? "all bars are reached" : `missed: ${missed.map(({ what }) => what).join(", ")}`,
        passed: missed.length === 0,
      };
    });
  },
};

function isReached(value: number, bar: string): boolean {
  const [sign, limit] = bar.split(" ");
  if (limit === undefined) return true;
  return sign === "≥" ? value >= Number(limit) : value <= Number(limit);
}

type Caller = ReturnType<typeof caller>;

/** Calls a tool; a call that a kill cut is repeated. */
function caller(client: LineClient) {
  return async (name: string, args: Data): Promise<Data> => {
    const deadline = performance.now() + limitMs;
    for (;;) {
      const { result, error } = await client.request("tools/call", { name, arguments: args });
      if (result?.isError !== true && result?.structuredContent !== undefined) return result.structuredContent;
      const said = JSON.stringify(result ?? error);
      if (!/daemon|cut off|connection/i.test(said) || performance.now() > deadline) throw new Error(`${name}: ${said}`);
      await pause(50);
    }
  };
}

async function finished(call: Caller, job: unknown): Promise<Data> {
  for (;;) {
    const answer = await call("job", { action: "wait", job_id: job });
    if (answer["state"] === "succeeded") return answer;
    if (answer["state"] !== "running") throw new Error(JSON.stringify(answer));
  }
}

async function linesOf(home: string, job: unknown): Promise<readonly Data[]> {
  const [document, journal] = await Promise.all(
    ["json", "journal"].map((ending) =>
      readFile(join(home, "jobs", `${String(job)}.work.${ending}`), "utf8").catch(() => ""),
    ),
  );
  const stored = (document === "" ? {} : JSON.parse(document ?? "{}")) as { readonly answers?: readonly Data[] };
  const events = (journal ?? "").split("\n").flatMap((line) => {
    try {
      const { event } = JSON.parse(line) as { readonly event?: { readonly answer?: Data } };
      return event?.answer === undefined ? [] : [event.answer];
    } catch {
      return [];
    }
  });
  return [...(stored.answers ?? []), ...events];
}

async function besideAndKilled(
  call: Caller,
  { home, root, model }: Readonly<Record<"home" | "root" | "model", string>>,
): Promise<readonly Row[]> {
  await copySources(join(root, "sources"));
  const ask = async (count: number, apartMs = 0): Promise<number> => {
    const times: number[] = [];
    for (let at = 0; at < count; at += 1) {
      if (apartMs > 0) await pause(apartMs);
      const startedAt = performance.now();
      await call("route_and_generate", { prompt: `What is ${at} + ${at}?`, model, max_tokens: 16, temperature: 0 });
      times.push(performance.now() - startedAt);
    }
    return percentile(times, 95);
  };
  await ask(3);
  const without = await ask(questions);
  const of = ["sources/*.ts"];
  const asked = { prompt: "What does this file do? One short sentence.", model, max_tokens: 24, for_each: { of } };
  const { job } = await call("route_and_generate", asked);
  await pause(2_000);
  const beside = await ask(questions);
  const apart = await ask(questions, betweenMs);
  for (let kill = 1; kill <= kills; kill += 1) {
    while ((await linesOf(home, job)).length < (kill * files) / (kills + 1)) await pause(100);
    const pid = newestClaim(home)?.pid;
    if (pid === undefined) throw new Error(`no daemon holds ${home}`);
    process.kill(pid, "SIGKILL");
  }
  await finished(call, job);
  const kept = await linesOf(home, job);
  const distinct = new Set(kept.map(({ prompt }) => prompt)).size;
  const failed = kept.filter(({ state }) => state === "failed").length;
  return [
    { what: "answers lost", value: files - distinct, unit: "", bar: "≤ 0" },
    { what: "answers given twice", value: kept.length - distinct, unit: "", bar: "≤ 0" },
    { what: "answers failed", value: failed, unit: "", bar: "≤ 0" },
    { what: "p95 of a question without the batch", value: rounded(without), unit: "ms", bar: "" },
    { what: "p95 beside the batch ÷ without", value: rounded(beside / without, 2), unit: "×", bar: `≤ ${bars.beside}` },
    { what: `the same with questions ${betweenMs} ms apart`, value: rounded(apart / without, 2), unit: "×", bar: "" },
  ];
}

/** The smallest files of our own programs, by their size. */
async function copySources(folder: string): Promise<void> {
  await mkdir(folder);
  const folders = ["src", "test", "bench", "scripts"];
  const names = (
    await Promise.all(
      folders.map(async (each) =>
        (await readdir(join(repository, each), { recursive: true })).map((name) => join(each, name)),
      ),
    )
  ).flat();
  const sized = await Promise.all(
    names
      .filter((name) => name.endsWith(".ts"))
      .map(async (name) => ({ name, size: (await stat(join(repository, name))).size })),
  );
  const chosen = sized.toSorted((a, b) => a.size - b.size || a.name.localeCompare(b.name)).slice(0, files);
  if (chosen.length < files) throw new Error(`only ${chosen.length} files`);
  await Promise.all(
    chosen.map(({ name }) => copyFile(join(repository, name), join(folder, name.replaceAll(/[\\/]/g, "-")))),
  );
}

const format = {
  type: "object",
  properties: {
    codes: {
      type: "array",
      items: {
        type: "object",
        properties: { machine: { type: "string" }, code: { type: "string" } },
        required: ["machine", "code"],
      },
    },
  },
  required: ["codes"],
};

/** Facts that no model can know, between the paragraphs of our own documentation. */
async function plantedFacts(call: Caller, root: string, model: string): Promise<readonly Row[]> {
  const pages = (await readdir(join(repository, "docs"))).filter((name) => name.endsWith(".md")).toSorted();
  const texts = await Promise.all(pages.map((name) => readFile(join(repository, "docs", name), "utf8")));
  const paragraphs = texts.join("\n\n").split(/\n{2,}/);
  const whole = paragraphs.join("\n\n").slice(0, 300_000).split("\n\n");
  const planted = Array.from({ length: facts }, (_, at) => ({
    machine: `pump ${at * 7 + 3}`,
    code: `${((at * 7919 + 1234) % 9000) + 1000}-K`,
  }));
  for (const [at, { machine, code }] of planted.entries())
    whole.splice(Math.floor(((at + 0.5) * whole.length) / facts), 0, `The maintenance code of ${machine} is ${code}.`);
  const text = whole.join("\n\n");
  await writeFile(join(root, "long.md"), text);
  const lines = text.split("\n");
  const request = {
    prompt: "Which machines have a maintenance code in this text? An empty list if none is stated.",
    model,
    format,
    temperature: 0,
    max_tokens: 300,
    for_each: { of: ["long.md"], each: "part" },
    output_path: "codes.jsonl",
  };
  const begun = await call("route_and_generate", request);
  const answer = await finished(call, begun["job"]);
  const answers = (await readFile(join(root, "codes.jsonl"), "utf8"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Found);
  const found = new Map<string, boolean>();
  let wrong = 0;
  for (const { text: said = "{}", where = {} } of answers) {
    for (const [at, { machine, code }] of codesIn(said).entries()) {
      const fact = planted.find((each) => each.code === code && machine?.toLowerCase().includes(each.machine) === true);
      if (fact === undefined) wrong += code === null || code === undefined ? 0 : 1;
      else {
        const place = Number(/:(\d+)/.exec(where[`/codes/${at}/code`] ?? "")?.[1]);
        found.set(fact.code, lines[place - 1]?.includes(fact.code) === true);
      }
    }
  }
  const tokens = [request, begun, answer].reduce((sum, each) => sum + countTokens(JSON.stringify(each)), 0);
  return [
    { what: "facts found", value: rounded(found.size / facts, 2), unit: "of 1", bar: `≥ ${bars.recall}` },
    {
      what: "found ones with the line of the fact",
      value: [...found.values()].filter(Boolean).length,
      unit: "",
      bar: `≥ ${found.size}`,
    },
    { what: "codes that were not planted", value: wrong, unit: "", bar: "" },
    { what: "tokens for the assistant", value: tokens, unit: "", bar: `≤ ${bars.tokens}` },
    { what: "tokens of the text", value: countTokens(text), unit: "", bar: "" },
    {
      what: "seconds",
      value: (answer["result"] as { for_each: { counts: { seconds: number } } }).for_each.counts.seconds,
      unit: "",
      bar: "",
    },
  ];
}

interface Found {
  readonly text?: string;
  readonly where?: Readonly<Record<string, string>>;
}

function codesIn(text: string): readonly { readonly machine?: string | null; readonly code?: string | null }[] {
  try {
    const { codes } = JSON.parse(text) as { readonly codes?: ReturnType<typeof codesIn> | null };
    return codes ?? [];
  } catch {
    return [];
  }
}
