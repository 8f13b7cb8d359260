import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Client } from "@modelcontextprotocol/client";
import { countTokens } from "gpt-tokenizer/encoding/o200k_base";
import type { Bench, BenchResult } from "./bench.ts";
import { withSmolLm2 } from "./embedded.ts";
import type { RecordedGeneration } from "./support/record-generations.ts";
import { rounded } from "./support/statistics.ts";

const model = "smollm2:135m";
const files = ["docs/settings.md", "docs/commands.md", "docs/security.md", "docs/clients.md"];
const bars = { paidTokens: 250, firstProgressSeconds: 2, placeShare: 0.25 };
/** Waits as long as progress is sent, so that the answer is not a job that it would have to ask for again. */
const clientName = "claude-code";
const limitMs = 30 * 60_000;
const recorder = new URL("support/record-generations.ts", import.meta.url).href;
const repository = new URL("../", import.meta.url);

const summary = { prompt: "Summarise what these files are about in two sentences.", max_tokens: 96 };
const place = { prompt: "Which port does ollm serve listen on by default?", max_tokens: 48 };
/** Words of the line that answers it. */
const placeWords = "7411";

export const long: Bench = {
  name: "long",
  summary: "120 kB of this repository's docs, read in parts by SmolLM2-135M: tokens paid, parts read, first progress",
  options: ["kilobytes"],
  help:
    "--kilobytes: less of the files, for a slow machine; at least 40, which no window of the model holds. Tokens are o200k: the call's arguments with the answer's text form, which most clients show to their model, and with " +
    "its structured form, which some show instead. What was read is what the engine was sent. Times are of this machine as it is.",
  async run({ kilobytes = "120" }) {
    const folder = await mkdtemp(join(tmpdir(), "ollm-bench-"));
    const record = join(folder, "generations.jsonl");
    await writeFile(record, "");
    try {
      const start = {
        nodeArgs: ["--import", import.meta.resolve("tsx"), "--import", recorder],
        environment: { BENCH_GENERATIONS: record },
        clientName,
      };
      return await withSmolLm2(async (_call, { root, client }) => {
        const texts = await copyDocs(root, Number(kilobytes) * 1_000);
        const whole = await measured(client, { ...summary, model, files }, record);
        const one = await measured(client, { ...place, model, files }, record);
        return resultOf(texts, whole, one);
      }, start);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

/** Copies as much of the files, each cut alike. Returns the texts. */
async function copyDocs(root: string, bytes: number): Promise<readonly string[]> {
  const texts: string[] = [];
  for (const file of files) {
    const whole = await readFile(fileURLToPath(new URL(file, repository)), "utf8");
    const text = bytes >= 120_000 ? whole : whole.slice(0, bytes / files.length);
    await mkdir(dirname(join(root, file)), { recursive: true });
    await writeFile(join(root, file), text);
    texts.push(text);
  }
  return texts;
}

interface Measured {
  readonly textTokens: number;
  readonly structuredTokens: number;
  readonly answer: string;
  readonly parts: { readonly total: number; readonly read?: readonly string[]; readonly missing?: readonly string[] };
  readonly firstProgressSeconds: number;
  readonly seconds: number;
  readonly generations: readonly RecordedGeneration[];
}

async function measured(client: Client, input: Record<string, unknown>, record: string): Promise<Measured> {
  await writeFile(record, "");
  const startedAt = performance.now();
  let firstProgressMs = Number.POSITIVE_INFINITY;
  const result = await client.callTool(
    { name: "route_and_generate", arguments: input },
    {
      timeout: limitMs,
      onprogress: () => void (firstProgressMs = Math.min(firstProgressMs, performance.now() - startedAt)),
    },
  );
  const seconds = (performance.now() - startedAt) / 1_000;
  const text = result.content.map((block) => (block.type === "text" ? block.text : "")).join("\n");
  if (result.isError === true) throw new Error(text);
  const structured = result.structuredContent as { text: string; parts?: Measured["parts"] };
  if (structured.parts === undefined) throw new Error(`the files were not read in parts: ${text}`);
  const asked = countTokens(JSON.stringify(input));
  const lines = (await readFile(record, "utf8")).split("\n").filter((line) => line !== "");
  return {
    textTokens: asked + countTokens(text),
    structuredTokens: asked + countTokens(JSON.stringify(structured)),
    answer: structured.text,
    parts: structured.parts,
    firstProgressSeconds: firstProgressMs / 1_000,
    seconds,
    generations: lines.map((line) => JSON.parse(line) as RecordedGeneration),
  };
}

function resultOf(texts: readonly string[], whole: Measured, one: Measured): BenchResult {
  const readTokens = texts.reduce((sum, text) => sum + countTokens(text), 0);
  const kilobytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0) / 1_000;
  const prompts = whole.generations.map(({ prompt }) => prompt).join("\n");
  const lines = texts.flatMap((text) => text.split("\n")).filter((line) => line.trim() !== "");
  const unread = lines.filter((line) => !prompts.includes(line)).length;
  const [wholePrompt, onePrompt] = [whole, one].map(({ generations }) => total(generations, "promptTokens"));
  const share = onePrompt === undefined || wholePrompt === undefined ? 1 : onePrompt / wholePrompt;
  const cached = total(whole.generations, "cachedPromptTokens");
  const hasPlace = one.generations.some(({ prompt }) => prompt.includes(placeWords));
  const first = Math.max(whole.firstProgressSeconds, one.firstProgressSeconds);
  const checks: readonly (readonly [what: string, value: string, bar: string, isMet: boolean | undefined])[] = [
    ["size of the files", `${rounded(kilobytes)} kB`, "", undefined],
    ["tokens, read by the assistant itself", `${readTokens}`, "", undefined],
    ["tokens paid, text form", `${whole.textTokens}`, `< ${bars.paidTokens}`, whole.textTokens < bars.paidTokens],
    ["tokens paid, structured form", `${whole.structuredTokens}`, "", undefined],
    [
      "parts",
      `${whole.parts.total}, ${whole.parts.missing?.length ?? 0} missing`,
      "0 missing",
      whole.parts.missing === undefined,
    ],
    ["lines that no prompt held", `${unread} of ${lines.length}`, "0", unread === 0],
    ["first progress", `${rounded(first)} s`, `< ${bars.firstProgressSeconds} s`, first < bars.firstProgressSeconds],
    ["time of the summary", `${rounded(whole.seconds)} s, ${whole.generations.length} requests`, "", undefined],
    ["its prompt tokens from the cache", `${cached} of ${wholePrompt}`, "> 0", cached > 0],
    [
      "question of one place: tokens paid, text form",
      `${one.textTokens}`,
      `< ${bars.paidTokens}`,
      one.textTokens < bars.paidTokens,
    ],
    ["its tokens paid, structured form", `${one.structuredTokens}`, "", undefined],
    [
      "its parts read",
      `${one.parts.read?.length ?? "all"} of ${one.parts.total}`,
      "some",
      one.parts.read !== undefined,
    ],
    ["the place among them", hasPlace ? "yes" : "no", "yes", hasPlace],
    [
      "its prompt tokens, of those for all parts",
      `${onePrompt} (${rounded(share * 100)} %)`,
      `< ${bars.placeShare * 100} %`,
      share < bars.placeShare,
    ],
    ["its time", `${rounded(one.seconds)} s`, "", undefined],
    ["its answer", one.answer.replaceAll(/\s+/g, " ").slice(0, 60), "", undefined],
  ];
  const rows = checks.map(([what, value, bar, isMet]) => ({
    what,
    value,
    bar,
    result: isMet === undefined ? "" : isMet ? "met" : "missed",
  }));
  const missed = rows.filter(({ result }) => result === "missed").map(({ what }) => what);
  return {
    rows,
    totals: {
      read_tokens: readTokens,
      paid_tokens: whole.textTokens,
      paid_structured_tokens: whole.structuredTokens,
      parts: whole.parts.total,
      unread_lines: unread,
      first_progress_seconds: rounded(first),
      total_seconds: rounded(whole.seconds),
      cached_prompt_tokens: cached,
      prompt_tokens: wholePrompt ?? 0,
      place_prompt_tokens: onePrompt ?? 0,
      place_seconds: rounded(one.seconds),
    },
    verdict: missed.length === 0 ? "all bars met" : `missed: ${missed.join("; ")}`,
    passed: missed.length === 0,
  };
}

function total(generations: readonly RecordedGeneration[], field: "promptTokens" | "cachedPromptTokens"): number {
  return generations.reduce((sum, generation) => sum + generation[field], 0);
}
