/** How to embed texts: some models treat queries and documents differently. */
export interface EmbedOptions {
  readonly kind: "query" | "document";
  /** Preferred while it is available, so that the vectors compare with earlier ones. */
  readonly model?: string;
  /** Use only a loaded model. */
  readonly isLoadedOnly?: boolean;
}

interface Embedded {
  /** Engine, name and digest. Vectors of different models don't compare. */
  readonly model: string;
  /** One row per text. */
  readonly vectors: readonly (readonly number[])[];
}

/** Embeds texts with an available embedding model; undefined when there is none. */
export type Embed = (
  texts: readonly string[],
  signal: AbortSignal,
  options?: EmbedOptions,
) => Promise<Embedded | undefined>;

/** A direction with 8 bits per dimension: a quarter of the memory, with similarities equal to the second digit. */
export type Direction = Int8Array;

const steps = 127;

/** The vector's direction; undefined for a zero or infinite vector. */
export function directionOf(vector: readonly number[]): Direction | undefined {
  let largest = 0;
  for (const value of vector) largest = Math.max(largest, Math.abs(value));
  if (!(largest > 0) || !Number.isFinite(largest)) return undefined;
  return Int8Array.from(vector, (value) => Math.round((value / largest) * steps));
}

/** Cosine of the angle between two directions, -1 to 1; 0 for those of different length. */
export function similarityOf(a: Direction, b: Direction): number {
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
