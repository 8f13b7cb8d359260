import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { countTokens } from "gpt-tokenizer/encoding/o200k_base";
import { startInTerminal } from "../scripts/in-terminal.ts";
import { startFakeOllama } from "../test/support/fake-ollama.ts";
import type { Bench } from "./bench.ts";
import { command, withCleanEnvironment } from "./support/environment.ts";
import { onlyEngine } from "./support/programs.ts";
import { median, rounded } from "./support/statistics.ts";

const bars = { coldSeconds: 20, secondSeconds: 12, helpLines: 30, signMs: 200 };
const rounds = 5;
const limitMs = 10 * 60_000;
const demoProgram = fileURLToPath(new URL("../scripts/demo.ts", import.meta.url));
const message =
  "parser: reject unknown options\n\nThey were ignored, so a typo went unnoticed. Now the name is printed.";

type Environment = Readonly<Record<string, string>>;

interface Row extends Readonly<Record<string, string | number>> {
  readonly what: string;
  /** A number with its unit, or why there is none. */
  readonly value: string;
  readonly bar: string;
  /** `met`, `missed`, `not measured`; empty without a bar. */
  readonly result: string;
}

export const firstHour: Bench = {
  name: "first-hour",
  summary:
    "the demo cold and again, the first help screen, the first sign of life of `run`, tokens of a delegated diff",
  help:
    "Times are of this machine as it is: on a busy one they say little. A pseudo-terminal needs `script` of util-linux, the " +
    "cold demo a network. Tokens are counted with o200k, with the longer form of the answer.",
  run: () =>
    withCleanEnvironment(async (environment) => {
      const rows = [
        ...(await demoRows(environment)),
        await part("lines of the bare help screen, 80 columns", `${bars.helpLines}`, () => helpLines(environment)),
        await part("first sign of life of `run`, median of 5", `${bars.signMs} ms`, () => firstSign(environment)),
        ...(await diffRows(environment)),
      ];
      const of = (result: string) => rows.filter((row) => row.result === result).length;
      return {
        rows,
        verdict: `bars: ${of("met")} met, ${of("missed")} missed, ${of("not measured")} not measured`,
        passed: of("missed") === 0,
      };
    }),
};

interface Measured {
  readonly value: string;
  readonly isMet: boolean;
}

async function part(what: string, bar: string, measure: () => Promise<Measured>): Promise<Row> {
  try {
    const { value, isMet } = await measure();
    return { what, value, bar, result: bar === "" ? "" : isMet ? "met" : "missed" };
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n").at(0) : String(error);
    return { what, value: `${reason}`, bar, result: "not measured" };
  }
}

/** The demo as a newcomer runs it, twice: with nothing installed, and again. */
async function demoRows(environment: Environment): Promise<readonly Row[]> {
  // pip's settings are those of the user.
  const own = { ...process.env, OLLM_HOME: environment["OLLM_HOME"], OLLM_PROVIDERS_OLLAMA_ENABLED: "false" };
  const demo = async () => {
    const args = ["--import", "tsx", demoProgram];
    const { stdout } = await promisify(execFile)(process.execPath, args, { env: own, timeout: limitMs });
    const [, total, installing = "0"] = /Done in ([\d.]+) s(?:,\s+([\d.]+)\s+s\s+of\s+them)?/.exec(stdout) ?? [];
    if (total === undefined) throw new Error("the demo did not say how long it took");
    if (stdout.includes("PRACTICE MODEL")) throw new Error("no real model could be downloaded");
    return { total: Number(total), installing: Number(installing) };
  };
  const cold = await part("demo, cold, less downloads and their installation", `${bars.coldSeconds} s`, async () => {
    const { total, installing } = await demo();
    const rest = rounded(total - installing);
    return { value: `${rest} s (${installing} s more with them)`, isMet: rest <= bars.coldSeconds };
  });
  const second = await part("demo, second run", `${bars.secondSeconds} s`, async () => {
    const { total, installing } = await demo();
    if (installing > 0) throw new Error("the first run left no model");
    return { value: `${total} s`, isMet: total <= bars.secondSeconds };
  });
  return [cold, second];
}

/** Runs the built command in a pseudo-terminal of 80 columns, until its end. Each question is answered with no. */
async function inTerminal(
  words: readonly string[],
  environment: Environment,
  onData: (text: string) => void,
): Promise<void> {
  const child = startInTerminal([command, ...words], { columns: 80, rows: 50, environment, limitMs: 60_000 });
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    onData(text);
    if (/\[y\/n\]/i.test(text)) child.stdin.write("n\n");
  });
  await new Promise((resolve, reject) => {
    child.once("error", reject).once("close", resolve);
  });
}

async function helpLines(environment: Environment): Promise<Measured> {
  let screen = "";
  await inTerminal([], environment, (text) => void (screen += text));
  const lines = screen.trimEnd().split("\n").length;
  if (!screen.includes("Usage")) throw new Error("no help was printed");
  return { value: `${lines}`, isMet: lines <= bars.helpLines };
}

/** From the start of the process to its first visible character, without a daemon: the longest wait. */
async function firstSign(environment: Environment): Promise<Measured> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const startedAt = performance.now();
    let firstMs: number | undefined;
    const settings = { ...environment, OLLM_PROVIDERS_OLLAMA_ENABLED: "false" };
    await inTerminal(["run", "smollm2:135m", "hello"], settings, (text) => {
      // Control sequences show nothing.
      // oxlint-disable-next-line no-control-regex
      if (firstMs === undefined && /\S/.test(text.replaceAll(/\u001b\[[\d;?]*[a-zA-Z]/g, "")))
        firstMs = performance.now() - startedAt;
    });
    if (firstMs === undefined) throw new Error("`run` printed nothing");
    times.push(firstMs);
    await promisify(execFile)(process.execPath, [command, "daemon", "stop"], { env: { ...environment } });
  }
  const value = Math.round(median(times));
  return { value: `${value} ms`, isMet: value <= bars.signMs };
}

/** A commit message for a staged diff of 400 changed lines: what an assistant pays, and what it would have read. */
async function diffRows(environment: Environment): Promise<readonly Row[]> {
  let read = 0;
  const delegated = await part("tokens paid for its commit message, delegated", "less", async () => {
    const root = join(environment["HOME"] ?? "", "repository");
    read = await stageDiff(root, environment);
    const paid = await delegate(root, environment);
    return { value: `${paid}`, isMet: paid < read };
  });
  const reading = { what: "tokens of a staged diff of 400 lines, read", bar: "", result: "" };
  return [{ ...reading, value: read === 0 ? "no diff was made" : `${read}` }, delegated];
}

/** Returns the tokens of the diff. */
async function stageDiff(root: string, environment: Environment): Promise<number> {
  await mkdir(root);
  const identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"];
  const git = async (...words: readonly string[]) =>
    (await promisify(execFile)("git", [...identity, ...words], { cwd: root, env: { ...environment } })).stdout;
  const lines = (check: string) =>
    Array.from({ length: 200 }, (_, at) => `  if (options.value${at} ${check}) throw new Error("option ${at}");`);
  await git("init", "--quiet");
  await writeFile(join(root, "parser.ts"), `${lines("=== null").join("\n")}\n`);
  await git("add", "-A");
  await git("commit", "--quiet", "-m", "first");
  await writeFile(join(root, "parser.ts"), `${lines("=== undefined").join("\n")}\n`);
  await git("add", "-A");
  return countTokens(await git("diff", "--cached"));
}

/** Tokens of the call and of its answer, from a model that writes a good message. */
async function delegate(root: string, environment: Environment): Promise<number> {
  const ollama = await startFakeOllama({ models: [{ name: "writer:7b", contextTokens: 32_768, reply: message }] });
  const client = new Client({ name: "bench", version: "1" });
  try {
    const args = [command, "--standalone", "--root", root];
    // The folder of the process is a root, too.
    const server = { command: process.execPath, args, env: { ...environment, ...onlyEngine(ollama.url) }, cwd: root };
    await client.connect(new StdioClientTransport({ ...server, stderr: "ignore" }));
    const input = { template: "commit-message", files: ["git:staged"] };
    const result = await client.callTool({ name: "route_and_generate", arguments: input });
    const text = result.content.map((block) => (block.type === "text" ? block.text : "")).join("\n");
    if (result.isError === true || !text.includes("unknown options")) throw new Error(`git:staged: ${text}`);
    const answered = Math.max(countTokens(text), countTokens(JSON.stringify(result.structuredContent)));
    return countTokens(JSON.stringify(input)) + answered;
  } finally {
    await client.close();
    await ollama.close();
  }
}
