/** What an embedding model is asked: models that tell questions from texts need to know which it is. */
export interface EmbedHint {
  readonly kind: "query" | "document";
  /** Taken while it is there, so that vectors made before still compare. */
  readonly model?: string;
  /** Only with a model that is in memory already: nothing is loaded for it. */
  readonly isLoadedOnly?: boolean;
}

export interface Embedded {
  /** Engine, name and digest: vectors of different ones don't compare. */
  readonly model: string;
  /** One row per text. */
  readonly vectors: readonly (readonly number[])[];
}

/** Vectors from an embedding model that is there now; undefined when there is none. */
export type Embed = (texts: readonly string[], signal: AbortSignal, hint?: EmbedHint) => Promise<Embedded | undefined>;

/** A direction in 8 bits a dimension: a quarter of the memory, and similarities differ in the third digit only. */
export type Direction = Int8Array;

const steps = 127;

/** The vector's direction; undefined for one that has none. */
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
