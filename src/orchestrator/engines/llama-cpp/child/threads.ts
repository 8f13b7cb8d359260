import { mkdir } from "node:fs/promises";
import { cpus } from "node:os";
import { basename, dirname, join } from "node:path";
import * as z from "zod";
import { replaceFile, readRegularText } from "../../../storage/replace-file.ts";
import { parseJson, getOrInsert } from "../../../util/values.ts";
import type { ContextSequence, Llama, Token } from "./node-llama-cpp.ts";

/** How much of a digest stands in a folder's name. */
const digestCharacters = 16;

interface Weights {
  readonly digest: string;
  readonly adapterFiles: readonly string[];
}

/** Names weights, adapters and a version of the engine. */
export function keyOf({ digest, adapterFiles }: Weights, engineVersion: string): string {
  const digests = [digest, ...adapterFiles.map((file) => basename(file))].map((name) =>
    name.replace(/^sha256[:-]/, "").slice(0, digestCharacters),
  );
  return `${digests.join("-")}-${engineVersion}`;
}

/** Where the speeds of a model's threads are kept. */
export const speedsFileOf = (cacheFolder: string, weights: Weights, engineVersion: string): string =>
  join(cacheFolder, "speeds", `${keyOf(weights, engineVersion)}.json`);

/** Tokens per ms for each number of threads. */
type ThreadSpeeds = ReadonlyMap<number, number>;

const pairs = z.array(z.tuple([z.int().positive(), z.number().positive()]).readonly()).readonly();
const keptSchema = z.object({
  machine: z.string(),
  reading: pairs.exactOptional(),
  writing: pairs.exactOptional(),
  together: pairs.exactOptional(),
  guesses: pairs.exactOptional(),
});
type Kept = z.output<typeof keptSchema>;

/**
 * The speeds of a model on this machine with so many threads at most (absent: any), kept for its next load. `file`: of its weights and
 * this version of the engine. One that is missing, damaged or of another machine is measured again.
 */
export async function keptSpeeds(file: string, maxThreads?: number) {
  const machine = `${cpus()[0]?.model.trim() ?? process.arch}; threads: ${maxThreads ?? ""}`;
  let kept: Kept = { machine };
  try {
    const found = keptSchema.parse(parseJson(await readRegularText(file)));
    if (maxThreads === undefined ? found.machine.startsWith(machine) : found.machine === machine) kept = found;
  } catch {
    // Measured again.
  }
  const isWhole = (speeds: ThreadSpeeds) =>
    maxThreads === undefined ? speeds.size > 0 : candidatesOf(maxThreads).every((threads) => speeds.has(threads));
  const of = (kind: "reading" | "writing") => {
    const speeds = new Map(kept[kind]);
    return isWhole(speeds) ? speeds : undefined;
  };
  return {
    reading: of("reading"),
    writing: of("writing"),
    /** The same for so many answers that are written at the same time. */
    together: kept.together ?? [],
    /** How many times as long as one token a batch with so many tokens took. */
    guesses: kept.guesses ?? [],
    async note(more: Omit<Partial<Kept>, "machine">): Promise<void> {
      kept = { ...kept, ...more };
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      await replaceFile(file, `${JSON.stringify(kept)}\n`, { mode: 0o600 });
    },
  };
}

/** The numbers of threads that are compared. */
const candidatesOf = (maxThreads: number) => [...new Set([1, Math.ceil(maxThreads / 2), maxThreads])];

/** So many answers of a model are written together at most: each takes memory. */
const mostAnswers = 8;
/** So much of the tokens per second may be lost by writing answers together instead of one after the other. */
const allowedLoss = 0.05;
/** How long a measurement counts by which answers aren't written together: it is not repeated by itself. */
const rejectedMs = 10 * 60_000;

/**
 * How many answers are written together: twice as many as long as that isn't slower for all of them together, by the tokens
 * per ms of so many answers that were measured. What was not measured yet, or was slower long ago, is tried.
 */
export function answersTogether(
  speeds: ReadonlyMap<number, { readonly speed: number; readonly atMs: number }>,
  nowMs: number,
): number {
  let fastest = speeds.get(1)?.speed ?? 0;
  for (let width = 1; width < mostAnswers; width *= 2) {
    const more = speeds.get(2 * width);
    if (more === undefined) return 2 * width;
    if (more.speed < fastest * (1 - allowedLoss)) return nowMs - more.atMs > rejectedMs ? 2 * width : width;
    fastest = Math.max(fastest, more.speed);
  }
  return mostAnswers;
}

const maxDoublings = 5;
/** A slowdown of several threads by this factor means that other programs use their cores. */
const collapse = 3;

/**
 * All cores are fastest on an idle machine. But threads spin while they wait for each other: next to other programs on the
 * same cores, a chunk with two threads took 3 s where one thread took 0.1 s. So every candidate evaluates one chunk, one
 * thread first because it is the least affected, the fastest is used, and the comparison is repeated from time to time.
 *
 * A decision holds for `restChunks`, for twice as many each time that it is confirmed, and `restOfAll` times as long for all
 * threads: that others take their cores is seen at once. `first`: speeds that were measured before.
 */
export function createThreadContest(
  maxThreads: number,
  restChunks: number,
  first?: ThreadSpeeds,
  decided: (speeds: ThreadSpeeds) => void = () => undefined,
  restOfAll = 1,
) {
  const candidates = candidatesOf(maxThreads);
  let results = new Map(first);
  let winner: number | undefined;
  let lastWinner: number | undefined;
  let confirmations = 0;
  let winningSpeed = 0;
  let chunksLeft = 0;

  function decide(): void {
    winner = candidates.reduce((best, threads) =>
      (results.get(threads) ?? 0) > (results.get(best) ?? 0) ? threads : best,
    );
    confirmations = winner === lastWinner ? Math.min(confirmations + 1, maxDoublings) : 0;
    lastWinner = winner;
    winningSpeed = results.get(winner) ?? 0;
    chunksLeft = restChunks * 2 ** confirmations * (winner === maxThreads ? restOfAll : 1);
    decided(results);
    results = new Map();
  }

  if (first !== undefined) decide();
  return {
    /** The threads that won last. */
    won: () => winner ?? lastWinner,
    /** Returns the threads for the next chunk. `isHeld`: only a slowdown may begin a comparison. */
    next: (isHeld = false) =>
      winner ?? (isHeld ? lastWinner : undefined) ?? candidates.find((threads) => !results.has(threads)) ?? 1,
    /** Records the speed of the chunk just evaluated. */
    measured(threads: number, tokensPerMs: number, isHeld = false) {
      if (winner === undefined && !(isHeld && lastWinner !== undefined)) {
        results.set(threads, tokensPerMs);
        if (candidates.every((each) => results.has(each))) decide();
        return;
      }
      if (!isHeld) chunksLeft -= 1;
      if (chunksLeft <= 0) winner = undefined;
      if (threads === 1 || tokensPerMs * collapse >= winningSpeed) {
        // Behind more tokens, all threads are slower.
        if (threads === winner) winningSpeed += (tokensPerMs - winningSpeed) / 4;
        return;
      }
      winner = lastWinner = undefined;
      results.clear();
    },
  };
}

/** Tokens of one measurement: slow candidates cost an answer little. */
const measuredTokens = 4;
const restMeasurements = 20;
/** So many of them are a speed at which so many answers are written. */
const meanOf = 8;
/** A large model is measured by fewer tokens. */
const measuredMs = 500;

export type DecodeThreads = ReturnType<typeof createDecodeThreads>;

/**
 * The threads that write answers: a small model is written fastest by one, because threads spin beside the one that samples
 * (135M: 152 tokens/s with one, 74 with two), a larger one by all cores (1.5B: 7 and 13). How many answers are written at
 * once decides, too. Measured when the model is loaded, and on the tokens of answers, with all that happens between two of
 * them; but what many threads compute differs in its last bits from what one does, so answers that should be the same each
 * time keep their threads unless other programs take the cores.
 */
export function createDecodeThreads(
  llama: Pick<Llama, "maxThreads">,
  maxThreads: number,
  first: ThreadSpeeds,
  decided: (speeds: ThreadSpeeds) => void,
  now: () => number = () => performance.now(),
  known: readonly (readonly [number, number])[] = [],
) {
  const create = (...given: [] | [ThreadSpeeds, typeof decided]) => ({
    ...createThreadContest(maxThreads, restMeasurements, given[0], given[1]),
    tokens: 0,
    ms: 0,
  });
  const contests = new Map([[1, create(first, decided)]]);
  const widths = new Map(known.map(([width, speed]) => [width, { speed, atMs: now(), count: meanOf }]));
  let startedAt: number | undefined;
  let last = contests.get(1);
  /** With the threads that are used; a mean, because single measurements vary. */
  const measured = (width: number, speed: number) => {
    const { speed: before, count } = widths.get(width) ?? { speed, count: 0 };
    const of = Math.min(meanOf, count + 1);
    widths.set(width, { speed: before + (speed - before) / of, atMs: now(), count: of });
  };
  return {
    /** How many answers are written together, by what was measured. */
    together: () => answersTogether(new Map([...widths].filter(([, { count }]) => count === meanOf)), now()),
    /** Tokens per ms of so many answers together. */
    widthSpeeds: () =>
      [...widths].flatMap(([width, { speed, count }]) => (count < meanOf ? [] : [[width, speed] as const])),
    /** Something else was computed: the time until the next token isn't that of a token. */
    begin() {
      startedAt = undefined;
    },
    /** Before each step that computes a token of each of the `running` answers. */
    beforeToken(running: number, isHeld: boolean) {
      const key = Math.min(mostAnswers, 2 ** Math.floor(Math.log2(running)));
      const contest = getOrInsert(contests, key, () => create());
      const startsAt = now();
      if (startedAt !== undefined && contest === last) {
        contest.tokens += running;
        contest.ms += startsAt - startedAt;
      }
      if (contest.tokens >= measuredTokens * running) {
        const speed = contest.tokens / Math.max(contest.ms, 0.01);
        contest.measured(llama.maxThreads, speed, isHeld);
        if (contest.next(isHeld) === llama.maxThreads) measured(key, speed);
        contest.tokens = contest.ms = 0;
      }
      llama.maxThreads = contest.next(isHeld);
      [startedAt, last] = [startsAt, contest];
    },
  };
}

/** Tokens per ms of an empty sequence for each number of threads. */
export async function measureThreads(llama: Llama, sequence: ContextSequence, text: Token[], maxThreads: number) {
  const speeds = new Map<number, number>();
  // The first token is that of the text, for which buffers are created.
  for (const threads of [1, ...candidatesOf(maxThreads)]) {
    llama.maxThreads = threads;
    let [tokens, startedAt] = [-1, 0];
    for await (const _ of sequence.evaluate(text, { temperature: 0, yieldEogToken: true })) {
      tokens += 1;
      if (tokens === 0) startedAt = performance.now();
      else if (tokens >= measuredTokens || performance.now() - startedAt > measuredMs) break;
    }
    speeds.set(threads, tokens / (performance.now() - startedAt));
  }
  await sequence.adaptStateToTokens([], false);
  return speeds;
}
