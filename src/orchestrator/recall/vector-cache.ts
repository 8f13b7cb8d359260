import { createTurns } from "../util/joined-work.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import type { Log } from "../api/log.ts";
import { fieldsIn, messageOf } from "../util/values.ts";

/** Vectors by the hash of their text, kept on disk. Vectors that can't be read are made again. */
export type VectorCache = Awaited<ReturnType<typeof openVectorCache>>;

const file = "memory-vectors.jsonl";
const version = 1;
/** A file with fewer unused vectors is not rewritten. */
const fewestStale = 256;

/** Opens the cache. Never throws; logs when the file can't be read or written. */
export async function openVectorCache(parts: { readonly files?: DocumentFiles; readonly log: Log }) {
  const { files, log } = parts;
  const vectors = new Map<string, Int8Array>();
  let model: string | undefined;
  /** Whether the file is of `model` and can be appended to. */
  let isWritten = false;
  let writing: Promise<void> = Promise.resolve();

  function write(what: (to: DocumentFiles) => Promise<void>): Promise<void> {
    if (files === undefined) return Promise.resolve();
    writing = writing
      .then(() => what(files))
      .catch((error: unknown) => {
        isWritten = false;
        log.warn(`recall: ${file} can't be written: ${messageOf(error)}`);
      });
    return writing;
  }

  async function read(text: string): Promise<void> {
    const lines = text.split("\n");
    const head = fieldsIn(lines[0] ?? "");
    if (head["version"] !== version || typeof head["model"] !== "string") return;
    model = head["model"];
    isWritten = text.endsWith("\n");
    const turn = createTurns();
    for (const line of lines.slice(1)) {
      const others = turn();
      if (others !== undefined) await others;
      // None in an incomplete last line.
      const { hash, vector } = fieldsIn(line);
      if (typeof hash !== "string" || typeof vector !== "string" || vector === "") continue;
      vectors.set(hash, new Int8Array(Buffer.from(vector, "base64")));
    }
  }

  const rewrite = (to: DocumentFiles): Promise<void> => {
    isWritten = true;
    return to.replace(file, `${JSON.stringify({ version, model })}\n${[...vectors].map(lineOf).join("")}`);
  };

  try {
    await read((await files?.read(file)) ?? "");
  } catch (error) {
    log.warn(`recall: ${file} can't be read: ${messageOf(error)}`);
  }

  return {
    /** The model of the vectors; undefined before the first. */
    model: (): string | undefined => model,
    get: (hash: string): Int8Array | undefined => vectors.get(hash),
    /** Adds vectors; discards those of any other model. */
    put(from: string, made: ReadonlyMap<string, Int8Array>) {
      if (model !== from) {
        vectors.clear();
        isWritten = false;
        model = from;
      }
      for (const [hash, direction] of made) vectors.set(hash, direction);
      return write((to) => (isWritten ? to.append(file, [...made].map(lineOf).join("")) : rewrite(to)));
    },
    /** Rewrites the file without unused vectors when they are most of it; calls `used` only if they may be. */
    async tidy(usedCount: number, used: () => ReadonlySet<string>) {
      const leastStale = vectors.size - usedCount;
      if (leastStale < fewestStale || leastStale * 2 < vectors.size) return;
      const isUsed = used();
      const stale = [...vectors.keys()].filter((hash) => !isUsed.has(hash));
      if (stale.length < fewestStale || stale.length * 2 < vectors.size) return;
      for (const hash of stale) vectors.delete(hash);
      await write(rewrite);
    },
    close: () => write((to) => to.release(file)),
  };
}

function lineOf([hash, direction]: readonly [string, Int8Array]): string {
  const vector = Buffer.from(direction.buffer, direction.byteOffset, direction.byteLength).toString("base64");
  return `${JSON.stringify({ hash, vector })}\n`;
}

/** How to embed texts: some models treat queries and documents differently. */
interface EmbedOptions {
  readonly kind: "query" | "document";
  /** Preferred while it is available, so that the vectors compare with earlier ones. */
  readonly model?: string;
  /** Use only a loaded model. */
  readonly isLoadedOnly?: boolean;
}

/**
 * Embeds texts, a row each, with an available embedding model; undefined when there is none. `model` is its engine, name
 * and digest: vectors of different models don't compare.
 */
export type Embed = (
  texts: readonly string[],
  signal: AbortSignal,
  options?: EmbedOptions,
) => Promise<{ readonly model: string; readonly vectors: readonly (readonly number[])[] } | undefined>;

const steps = 127;

/**
 * The vector's direction with 8 bits per dimension: a quarter of the memory, with similarities equal to the second digit.
 * Undefined for a zero or infinite vector.
 */
export function directionOf(vector: readonly number[]): Int8Array | undefined {
  let largest = 0;
  for (const value of vector) largest = Math.max(largest, Math.abs(value));
  if (!(largest > 0) || !Number.isFinite(largest)) return undefined;
  return Int8Array.from(vector, (value) => Math.round((value / largest) * steps));
}

/** Cosine of the angle between two directions, -1 to 1; 0 for those of different length. */
export function similarityOf(a: Int8Array, b: Int8Array): number {
  if (a.length !== b.length) return 0;
  let dot = 0;
  let squaresOfA = 0;
  let squaresOfB = 0;
  for (let index = 0; index < a.length; index += 1) {
    const left = a[index] ?? 0;
    const right = b[index] ?? 0;
    dot += left * right;
    squaresOfA += left * left;
    squaresOfB += right * right;
  }
  return dot === 0 ? 0 : dot / Math.sqrt(squaresOfA * squaresOfB);
}
