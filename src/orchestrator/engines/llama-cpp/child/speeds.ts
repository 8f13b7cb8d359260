import { mkdir } from "node:fs/promises";
import { cpus } from "node:os";
import { basename, dirname, join } from "node:path";
import * as z from "zod";
import { replaceFile, readRegularText } from "../../../storage/replace-file.ts";
import { parseJson } from "../../../util/parse-json.ts";

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
export type ThreadSpeeds = ReadonlyMap<number, number>;

const pairs = z.array(z.tuple([z.int().positive(), z.number().positive()])).min(1);
const keptSchema = z.object({
  machine: z.string(),
  reading: pairs.exactOptional(),
  writing: pairs.exactOptional(),
  together: pairs.exactOptional(),
});

/**
 * The speeds of a model on this machine with so many threads at most (absent: any), kept for its next load. `file`: of its weights and
 * this version of the engine. One that is missing, damaged or of another machine is measured again.
 */
export async function keptSpeeds(file: string, maxThreads?: number) {
  const machine = `${cpus()[0]?.model.trim() ?? process.arch}; threads: ${maxThreads ?? ""}`;
  let kept: z.output<typeof keptSchema> = { machine };
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
    /** Of so many answers that are written at the same time. */
    together: kept.together ?? [],
    async note(kind: "reading" | "writing" | "together", speeds: Iterable<readonly [number, number]>): Promise<void> {
      kept = { ...kept, [kind]: Array.from(speeds, (each) => [...each]) };
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      await replaceFile(file, `${JSON.stringify(kept)}\n`, { mode: 0o600 });
    },
  };
}

/** The numbers of threads that are compared. */
export const candidatesOf = (maxThreads: number) => [...new Set([1, Math.ceil(maxThreads / 2), maxThreads])];

/** So many answers of a model are written together at most: each takes memory. */
export const mostAnswers = 8;
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
