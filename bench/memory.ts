import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { Low } from "lowdb";
import { JSONFile } from "lowdb/node";
import { createDocumentFiles } from "../src/orchestrator/storage/document-files.ts";
import { StoredMemories } from "../src/orchestrator/recall/memories.ts";
import type { CallerContext } from "../src/orchestrator/api/types.ts";
import { plainSettings } from "../test/support/caller-settings.ts";
import type { Bench } from "./bench.ts";
import { withCleanEnvironment } from "./support/environment.ts";
import { createMemoryTexts, type MemoryTexts } from "./support/memory-texts.ts";
import { median, percentile, rounded } from "./support/statistics.ts";

const sizes = [10, 1_000, 10_000, 100_000];
/** Of each kind and size. */
const rounds = 500;
/** Rewriting 100,000 entries takes a fifth of a second. */
const referenceRounds = 15;
const rememberBarMs = 5;
const searchBarMs = 5;
const recallBarMs = 1;
/** What a logarithm grows by from 1,000 to 100,000. */
const growthBar = Math.log(100_000) / Math.log(1_000);

export const memory: Bench = {
  name: "memory",
  summary: `remember (on disk), search and recall among 10 to 100,000 entries (${rememberBarMs}, ${searchBarMs}, ${recallBarMs} ms at 10,000)`,
  run: () =>
    withCleanEnvironment(async (environment) => {
      const homes: Home[] = [];
      for (const size of sizes) homes.push(await openHome(join(environment["HOME"] ?? "", String(size)), size));
      // One of each size in turn, so that a busy moment of the machine touches all.
      for (let round = 0; round < rounds; round += 1) for (const home of homes) await measureOne(home, round);
      for (let round = 0; round < referenceRounds; round += 1) {
        for (const home of homes) home.rewriteMs.push(await timed(home.rewrite));
      }
      for (const home of homes) await home.memories.close();
      const rows = await Promise.all(homes.map(rowOf));
      const at = (size: number) => rows[sizes.indexOf(size)] ?? rows[0];
      const growth = (at(100_000)?.remember_p50_ms ?? 0) / (at(1_000)?.remember_p50_ms ?? 1);
      const { remember_p50_ms: remember = 0, search_p50_ms: search = 0, recall_p50_ms: recall = 0 } = at(10_000) ?? {};
      return {
        rows,
        verdict:
          `at 10,000 entries: remember ${remember} ms, bar ${rememberBarMs}; search ${search} ms, bar ${searchBarMs}; ` +
          `recall ${recall} ms, bar ${recallBarMs}; remember at 100,000 takes ${growth.toFixed(2)} × that at 1,000, ` +
          `bar ${growthBar.toFixed(2)} (a logarithm)`,
        passed: remember <= rememberBarMs && search <= searchBarMs && recall <= recallBarMs && growth <= growthBar,
      };
    }),
};

interface Home {
  readonly size: number;
  readonly folder: string;
  readonly texts: MemoryTexts;
  readonly memories: StoredMemories;
  readonly keys: readonly string[];
  readonly openMs: number;
  readonly firstSearchMs: number;
  readonly firstRememberMs: number;
  readonly rememberMs: number[];
  readonly searchMs: number[];
  readonly recallMs: number[];
  /** The alternative: all entries in one document, rewritten for each new one. */
  readonly rewrite: () => Promise<unknown>;
  readonly rewriteMs: number[];
}

const caller: CallerContext = {
  id: "bench",
  client: "ollm",
  roots: [],
  settings: plainSettings,
  signal: new AbortController().signal,
};

function open(folder: string): StoredMemories {
  return new StoredMemories({
    now: Date.now,
    log: { debug: () => undefined, info: () => undefined, warn: (message) => console.error(message) },
    emit: () => undefined,
    files: createDocumentFiles(folder),
    embed: () => Promise.resolve(undefined),
  });
}

/** A home with `size` entries on disk, opened and queried once. */
async function openHome(folder: string, size: number): Promise<Home> {
  const texts = createMemoryTexts(size);
  const entries = Array.from({ length: size }, (_unused, index) => ({ key: texts.key(index), value: texts.value() }));
  const filling = open(folder);
  const { imported } = await filling.import(caller, JSON.stringify({ version: 1, entries }), "json");
  if (imported !== size) throw new Error(`${imported} of ${size} entries were imported`);
  await filling.close();

  const memories = open(folder);
  const keys = entries.map(({ key }) => key);
  const openMs = await timed(() => memories.recall(caller, { key: keys[0] ?? "" }));
  const firstSearchMs = await timed(() => memories.recall(caller, { query: texts.query() }));
  const firstRememberMs = await timed(() => memories.remember(caller, { key: "first", value: texts.value() }));

  await mkdir(join(folder, "reference"));
  const { entries: stored } = JSON.parse((await memories.export(caller, "json")).text) as { entries: object[] };
  const database = new Low(new JSONFile<object[]>(join(folder, "reference", "entries.json")), stored);
  const rewrite = () => database.update((all) => all.push({ ...stored[0], key: texts.key(all.length) }));
  const first = { openMs, firstSearchMs, firstRememberMs };
  return {
    size,
    folder,
    texts,
    memories,
    keys,
    ...first,
    rewrite,
    rememberMs: [],
    searchMs: [],
    recallMs: [],
    rewriteMs: [],
  };
}

/** One new entry, or another value of a known one; one search; one recall. */
async function measureOne({ memories, texts, keys, ...home }: Home, round: number): Promise<void> {
  const known = keys[(round * 7_919) % keys.length] ?? "";
  const key = round % 2 === 0 ? texts.key(home.size + round) : known;
  home.rememberMs.push(await timed(() => memories.remember(caller, { key, value: texts.value() })));
  home.searchMs.push(await timed(() => memories.recall(caller, { query: texts.query() })));
  home.recallMs.push(await timed(() => memories.recall(caller, { key: known })));
}

async function rowOf(home: Home) {
  const { size } = await stat(join(home.folder, "memory.json"));
  return {
    entries: home.size,
    remember_p50_ms: rounded(median(home.rememberMs), 2),
    remember_p99_ms: rounded(percentile(home.rememberMs, 99), 2),
    rewriting_p50_ms: rounded(median(home.rewriteMs), 2),
    search_p50_ms: rounded(median(home.searchMs), 2),
    search_p99_ms: rounded(percentile(home.searchMs, 99), 2),
    recall_p50_ms: rounded(median(home.recallMs), 3),
    open_ms: rounded(home.openMs),
    first_search_ms: rounded(home.firstSearchMs),
    first_remember_ms: rounded(home.firstRememberMs),
    file_kb: rounded(size / 1_000),
  };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}
