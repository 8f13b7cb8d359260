import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { MemoryEntry } from "../src/orchestrator/api/facade-recall.ts";
import type { CallerContext } from "../src/orchestrator/api/types.ts";
import { StoredMemories } from "../src/orchestrator/recall/memories.ts";
import { createMemorySearch, type MemorySearch } from "../src/orchestrator/recall/search.ts";
import { createDocumentFiles } from "../src/orchestrator/storage/document-files.ts";
import { plainSettings } from "../test/support/caller-settings.ts";
import { type FakeModel, sampleModels, startFakeOllama } from "../test/support/fake-ollama.ts";
import type { Bench } from "./bench.ts";
import { withCleanEnvironment } from "./support/environment.ts";
import type { LineClient } from "./support/line-client.ts";
import { createMemoryTexts } from "./support/memory-texts.ts";
import { onlyEngine, withFakeEngine, withServer } from "./support/programs.ts";
import { median, rounded } from "./support/statistics.ts";

const model = "smollm2:135m";
const embeddingModel = "all-minilm:latest";
const prompt = "Name three colours.";
const rounds = 60;
const warmUp = 30;
const fewModels = 5;
const manyModels = 1_000;
const manyNotes = 10_000;
const noteSizes = [1_000, manyNotes, 100_000] as const;
/** What a logarithm grows by from 1,000 to 10,000. */
const logarithm = Math.log(manyNotes) / Math.log(1_000);

type Environment = Record<string, string>;

/** One line of the answer: `value` is judged by `bar`. */
interface Row {
  readonly what: string;
  readonly value: number;
  readonly bar: number;
  readonly unit: string;
  readonly detail: string;
}

export const growth: Bench = {
  name: "growth",
  summary: `what a call costs among ${manyModels} models, with ${manyNotes} notes, with a prompt of 1 MB, beside the same call with few; lists; requests to the engine`,
  run: () =>
    withCleanEnvironment(async (environment) => {
      const measured = [
        ...(await amongModels(environment)),
        await longPrompt(environment),
        await withNotes(environment),
        ...(await requestCounts(environment)),
        ...(await recallSizes()),
      ];
      const missed = measured.filter(({ value, bar }) => value > bar);
      return {
        rows: measured.map(({ what, value, bar, unit, detail }) => ({
          what,
          value: rounded(value, 3),
          bar: Number.isFinite(bar) ? String(rounded(bar, 3)) : "none",
          unit,
          verdict: value > bar ? "missed" : "kept",
          detail,
        })),
        verdict:
          missed.length === 0
            ? `all bars are kept; medians of ${rounds}, in turns`
            : `${missed.length} of ${measured.length} bars are missed: ${missed.map(({ what }) => what).join("; ")}`,
        passed: missed.length === 0,
      };
    }),
};

/** Routed calls among few and many models, and the lists. */
async function amongModels(environment: Environment): Promise<readonly Row[]> {
  const few = environmentOf(environment, "few");
  const many = environmentOf(environment, "many");
  return withModels(environment, installed(fewModels), (fewUrl) =>
    withModels(environment, installed(manyModels), (manyUrl) =>
      withStandalone({ ...few, ...onlyEngine(fewUrl) }, (amongFew) =>
        withStandalone({ ...many, ...onlyEngine(manyUrl) }, async (amongMany) => {
          for (const server of [amongFew, amongMany]) await generate(server, { prompt, model });
          const [fewMs = 0, manyMs = 0, toolsMs = 0, listMs = 0, verboseMs = 0] = await inTurns([
            () => generate(amongFew, { prompt }),
            () => generate(amongMany, { prompt }),
            () => answered(amongFew, "tools/list", {}),
            () => call(amongMany, "list_models", {}),
            () => call(amongMany, "list_models", { verbose: true }),
          ]);
          return [
            {
              what: `routed among ${manyModels} models`,
              value: manyMs / fewMs,
              bar: 2,
              unit: `× among ${fewModels}`,
              detail: `${ms(manyMs)} and ${ms(fewMs)}`,
            },
            { what: "tools/list", value: toolsMs, bar: 1.5, unit: "ms", detail: "" },
            { what: `list_models of ${manyModels} models`, value: listMs, bar: 10, unit: "ms", detail: "" },
            { what: "the same, verbose", value: verboseMs, bar: 10, unit: "ms", detail: "" },
          ];
        }),
      ),
    ),
  );
}

/** A prompt of 1 MB, a new one each call, beside a direct request with it. */
async function longPrompt(environment: Environment): Promise<Row> {
  const contextTokens = 1_048_576;
  const own = { ...environmentOf(environment, "long"), OLLM_MEMORY_AVAILABLE_BYTES: String(2 ** 46) };
  const texts = createMemoryTexts(1);
  const words = Array.from({ length: 100 }, () => texts.value()).join(" ");
  const body = `${words}\n`.repeat(Math.ceil(1e6 / words.length)).slice(0, 1e6);
  let count = 0;
  const next = (): string => `${(count += 1)} ${body}`;
  return withModels(environment, [{ name: model, contextTokens }], (url) =>
    withStandalone({ ...own, ...onlyEngine(url) }, async (server) => {
      await generate(server, { prompt: next(), model, max_tokens: 100 });
      const [directMs = 0, oursMs = 0] = await inTurns(
        [
          () => askDirectly(url, next(), contextTokens),
          () => generate(server, { prompt: next(), model, max_tokens: 100 }),
        ],
        10,
      );
      return {
        what: "a new prompt of 1 MB",
        value: oursMs / directMs,
        bar: 1.7,
        unit: "× direct",
        detail: `${ms(oursMs)} and ${ms(directMs)}`,
      };
    }),
  );
}

/** Half of the notes contain a word of the prompt. */
async function withNotes(environment: Environment): Promise<Row> {
  const none = environmentOf(environment, "no-notes");
  const many = environmentOf(environment, "notes");
  await writeNotes(many["OLLM_HOME"] ?? "", manyNotes);
  return withModels(environment, installed(fewModels), (url) =>
    withStandalone({ ...none, ...onlyEngine(url) }, (without) =>
      withStandalone({ ...many, ...onlyEngine(url) }, async (withThem) => {
        const [withoutMs = 0, withMs = 0] = await inTurns([
          () => generate(without, { prompt, model }),
          () => generate(withThem, { prompt, model }),
        ]);
        return {
          what: `${manyNotes} notes`,
          value: withMs - withoutMs,
          bar: 1,
          unit: "ms more",
          detail: `${ms(withMs)}, ${ms(withoutMs)} without notes`,
        };
      }),
    ),
  );
}

/** Requests to the engine per generation: without notes, and with one and a loaded embedding model. */
async function requestCounts(environment: Environment): Promise<readonly Row[]> {
  const fake = await startFakeOllama({ models: sampleModels });
  try {
    const count = (server: LineClient) => requestsOf(fake, () => generate(server, { prompt, model }));
    const plain = await withStandalone(
      { ...environmentOf(environment, "counted"), ...onlyEngine(fake.url) },
      async (server) => count(server),
    );
    const remembering = await withStandalone(
      { ...environmentOf(environment, "counted-note"), ...onlyEngine(fake.url) },
      async (server) => {
        await call(server, "remember", { key: "favourite colour", value: "The user likes green best." });
        await call(server, "recall", { query: "colour" });
        if (![...fake.residents.values()].some(({ name }) => name === embeddingModel))
          throw new Error("no embedding model is loaded");
        return count(server);
      },
    );
    return [
      { what: "engine requests a generation", value: plain, bar: 1, unit: "requests", detail: "" },
      { what: "the same, recalling by meaning", value: remembering, bar: 2, unit: "requests", detail: "" },
    ];
  } finally {
    await fake.close();
  }
}

async function requestsOf(fake: Awaited<ReturnType<typeof startFakeOllama>>, work: () => Promise<unknown>) {
  const counted = 20;
  // The second call looks at what the first one loaded; from then on the facts are known.
  for (let round = 0; round < 3; round += 1) await work();
  const before = fake.requests.length;
  for (let round = 0; round < counted; round += 1) await work();
  return (fake.requests.length - before) / counted;
}

/** Searches, and looks for entries like a new one, in homes of growing size. */
async function recallSizes(): Promise<readonly Row[]> {
  const searches = noteSizes.map((size) => ({ texts: createMemoryTexts(size), search: searchOf(size) }));
  const options = { accepts: () => true, limit: 20, signal: new AbortController().signal };
  const searched = await inTurns(
    searches.map(
      ({ texts, search }) =>
        () =>
          search.search(texts.query(), options),
    ),
  );
  const compared = await inTurns(
    searches.map(({ texts, search }, index) => () => {
      const [key, value] = [texts.key(noteSizes[index] ?? 0), texts.value()];
      return search.similar(key, { ...noteOf(key, value) }, () => true);
    }),
  );
  const rowsOf = (what: string, [small = 0, large = 0, huge = 0]: readonly number[]): readonly Row[] => [
    {
      what: `${what} ${manyNotes} notes`,
      value: large / small,
      bar: logarithm,
      unit: "× among 1000",
      detail: `${ms(large)} and ${ms(small)}; ${ms(huge)} among 100000`,
    },
  ];
  return [...rowsOf("recall among", searched), ...rowsOf("near duplicates among", compared)];
}

function searchOf(size: number): MemorySearch {
  const search = createMemorySearch({
    log: { debug: () => undefined, info: () => undefined, warn: (message) => console.error(message) },
    embed: () => Promise.resolve(undefined),
  });
  const texts = createMemoryTexts(size);
  for (let index = 0; index < size; index += 1) {
    const key = texts.key(index);
    search.add(key, noteOf(key, texts.value()));
  }
  return search;
}

function noteOf(key: string, value: string): MemoryEntry {
  const at = "2026-01-01T00:00:00.000Z";
  const plain = { category: "fact", scope: "global", tags: [], isPinned: false, source: "user" } as const;
  return { key, value, ...plain, createdAt: at, updatedAt: at, accessCount: 0 };
}

const caller: CallerContext = {
  id: "bench",
  client: "ollm",
  roots: [],
  settings: plainSettings,
  signal: new AbortController().signal,
};

async function writeNotes(folder: string, size: number): Promise<void> {
  const texts = createMemoryTexts(size);
  const entries = Array.from({ length: size }, (_unused, index) =>
    noteOf(texts.key(index), `${texts.value()}${index % 2 === 0 ? " colours" : ""}`),
  );
  const memories = new StoredMemories({
    now: Date.now,
    log: { debug: () => undefined, info: () => undefined, warn: (message) => console.error(message) },
    emit: () => undefined,
    files: createDocumentFiles(folder),
    embed: () => Promise.resolve(undefined),
  });
  const text = JSON.stringify({ version: 1, entries });
  const { imported } = await memories.import(caller, text, "json");
  if (imported !== size) throw new Error(`${imported} of ${size} notes were imported`);
  await memories.close();
}

/** The samples, and as many others of families that routing knows and doesn't. */
function installed(count: number): readonly FakeModel[] {
  const families = ["qwen3", "llama3.1", "gemma3", "mistral", "phi4", "house"];
  const others = Array.from({ length: Math.max(0, count - sampleModels.length) }, (_unused, index) => ({
    name: `${families[index % families.length]}:8b-v${index}`,
    sizeBytes: 5e9 + index,
  }));
  return [...sampleModels, ...others];
}

async function withModels<Result>(
  environment: Environment,
  models: readonly FakeModel[],
  run: (url: string) => Promise<Result>,
): Promise<Result> {
  const file = join(environment["HOME"] ?? "", `models-${models.length}.json`);
  await writeFile(file, JSON.stringify(models));
  return withFakeEngine(["--models", file], run);
}

function environmentOf(environment: Environment, name: string): Environment {
  return { ...environment, OLLM_HOME: join(environment["HOME"] ?? "", name) };
}

function withStandalone<Result>(environment: Environment, run: (client: LineClient) => Promise<Result>) {
  return withServer(["--standalone"], environment, run);
}

/** Medians of each, in turns; the first calls don't count. */
async function inTurns(asks: readonly (() => Promise<unknown>)[], times = rounds): Promise<readonly number[]> {
  const took = asks.map((): number[] => []);
  for (let round = -Math.min(warmUp, times); round < times; round += 1) {
    for (const [index, ask] of asks.entries()) {
      const started = performance.now();
      await ask();
      if (round >= 0) took[index]?.push(performance.now() - started);
    }
  }
  return took.map(median);
}

async function generate(client: LineClient, given: Readonly<Record<string, unknown>>): Promise<void> {
  await call(client, "route_and_generate", given);
}

async function call(client: LineClient, name: string, given: Readonly<Record<string, unknown>>): Promise<void> {
  await answered(client, "tools/call", { name, arguments: given });
}

async function answered(client: LineClient, method: string, params: object): Promise<void> {
  const { result, error } = await client.request(method, params);
  if (result === undefined || result.isError === true) throw new Error(JSON.stringify(result ?? error).slice(0, 1_000));
}

async function askDirectly(url: string, content: string, contextTokens: number): Promise<void> {
  const response = await fetch(`${url}/api/chat`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model,
      messages: [{ role: "user", content }],
      stream: true,
      options: { num_ctx: contextTokens, num_predict: 100 },
    }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(text);
}

function ms(value: number): string {
  return `${rounded(value, 2)} ms`;
}
