import { createHash } from "node:crypto";
import { createTurns } from "../util/joined-work.ts";
import { estimateTokens } from "../routing/tokens.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { PromptTooLong, throwIfCancelled } from "../api/errors.ts";
import type { MemoryEntry } from "../api/facade-recall.ts";
import type { Log } from "../api/log.ts";
import { directionOf, similarityOf, type Embed, openVectorCache, type VectorCache } from "./vector-cache.ts";
import { endsOf } from "./text-index.ts";
/** Unrelated everyday notes: an entry that is as similar to a query as these is not relevant to it. */
import unrelated from "./unrelated.json" with { type: "json" };
import { defined, messageOf } from "../util/values.ts";
import { systemTimers, within } from "../util/timers.ts";

/** Texts of one call: a cancelled call loses no more than these. */
const batchSize = 32;
/** A model continues to load after a query that didn't wait for it. */
const batchLimitMs = 60_000;
/** A small part of the time in which a model would read all passages. */
const passagesLimitMs = 20_000;
/** On two cores a batch of 32 may take longer than that, and what is not whole by then is lost. */
const passagesAtOnce = 8;
/** all-minilm reads 256 tokens in Ollama; estimates are too high rather than too low. */
const textTokens = 240;
const shortestText = 40;

/**
 * Vectors of entries, made in the background and stored by the hash of their text. Reads and embeds nothing before the
 * first `ask`.
 */
export class Meaning {
  readonly #parts: ConstructorParameters<typeof Meaning>[0];
  readonly #closing = new AbortController();
  readonly #hashes = new Map<string, string>();
  readonly #entries = new Map<string, MemoryEntry>();
  /** Entries that may have no vector yet. */
  #pending = new Set<string>();
  #cache: VectorCache | undefined;
  #opening: Promise<VectorCache> | undefined;
  #filling: Promise<void> | undefined;
  readonly #asked = new Set<Promise<unknown>>();
  #late: Promise<unknown> | undefined;

  constructor(parts: {
    readonly embed: Embed;
    readonly log: Log;
    /** Where vectors are cached; absent: only in memory. */
    readonly files?: DocumentFiles;
  }) {
    this.#parts = parts;
  }

  put(id: string, entry: MemoryEntry): void {
    this.#entries.set(id, entry);
    this.#hashes.delete(id);
    this.#pending.add(id);
    // Where vectors are in use, make the new one at once if that needs no load.
    if (this.#cache?.model() !== undefined && !this.#closing.signal.aborted) void this.#fill(true);
  }

  remove(id: string): void {
    this.#entries.delete(id);
    this.#hashes.delete(id);
    this.#pending.delete(id);
  }

  /**
   * Compares a text with the entries by meaning. Undefined when no model answers within `waitMs`, or when no entry has a vector yet; starts making missing vectors.
   * Rejects only when `signal` aborts.
   */
  async ask(
    text: string,
    {
      signal,
      waitMs,
      isLoadedOnly = false,
    }: {
      readonly signal: AbortSignal;
      readonly waitMs: number;
      /** Load no model. */
      readonly isLoadedOnly?: boolean;
    },
  ) {
    // After one query timed out, others don't wait for the model until it has answered.
    if (this.#late !== undefined || this.#closing.signal.aborted) return undefined;
    const beganMs = systemTimers.now();
    const beginning: Promise<Int8Array | undefined> = this.#begin(text, isLoadedOnly)
      .catch((error: unknown) => this.#noted(error))
      .finally(() => {
        this.#asked.delete(beginning);
        if (this.#late === beginning) this.#late = undefined;
      });
    this.#asked.add(beginning);
    const late = () => "late" as const;
    const direction = await within({ ms: waitMs, signal }, () => beginning, late);
    if (direction === "late") this.#late = this.#asked.has(beginning) ? beginning : undefined;
    throwIfCancelled(signal, "searching memories");
    if (direction === "late" || direction === undefined) return undefined;
    // This query uses the vectors that are made within its time: all of them, if few are missing.
    const leftMs = Math.max(0, waitMs - (systemTimers.now() - beganMs));
    await within({ ms: leftMs, signal }, () => this.#fill(isLoadedOnly), late);
    throwIfCancelled(signal, "searching memories");
    return this.#compare(await this.#open(), direction);
  }

  async close(): Promise<void> {
    this.#closing.abort("closed");
    await Promise.allSettled([...this.#asked, this.#filling]);
    await this.#cache?.close();
  }

  #open(): Promise<VectorCache> {
    return (this.#opening ??= openVectorCache(this.#parts).then((opened) => (this.#cache = opened)));
  }

  #hashOf(id: string): string {
    const known = this.#hashes.get(id);
    const entry = this.#entries.get(id);
    if (known !== undefined || entry === undefined) return known ?? "";
    const hash = hashOfText(textOf(entry));
    this.#hashes.set(id, hash);
    return hash;
  }

  async #embedded(texts: readonly string[], kind: "query" | "document", isLoadedOnly: boolean) {
    const model = (await this.#open()).model();
    const options = { kind, isLoadedOnly, ...defined({ model }) };
    return within(
      { ms: batchLimitMs, signal: this.#closing.signal },
      (signal) => shortening(texts, (shorter) => this.#parts.embed(shorter, signal, options)),
      () => {
        throw new Error(`no vectors within ${batchLimitMs / 1_000} s`);
      },
    );
  }

  /** The next pending ids, and those of their texts that have no vector, by hash. */
  async #nextBatch(opened: VectorCache) {
    const turn = createTurns();
    const texts = new Map(unrelated.map((text) => [hashOfText(text), text]));
    for (const hash of texts.keys()) if (opened.get(hash) !== undefined) texts.delete(hash);
    const ids: string[] = [];
    for (const id of this.#pending) {
      if (texts.size >= batchSize) break;
      const others = turn();
      if (others !== undefined) await others;
      ids.push(id);
      const entry = this.#entries.get(id);
      const hash = this.#hashOf(id);
      if (entry !== undefined && opened.get(hash) === undefined) texts.set(hash, textOf(entry));
    }
    return { ids, texts };
  }

  /** Makes missing vectors, one batch at a time. Never rejects. */
  #fill(isLoadedOnly: boolean): Promise<void> {
    this.#filling ??= this.#fillAll(isLoadedOnly)
      .catch((error: unknown) => this.#noted(error))
      .finally(() => {
        this.#filling = undefined;
      });
    return this.#filling;
  }

  async #fillAll(isLoadedOnly: boolean): Promise<void> {
    const opened = await this.#open();
    for (;;) {
      const { ids, texts } = await this.#nextBatch(opened);
      if (texts.size > 0) {
        const made = await this.#embedded([...texts.values()], "document", isLoadedOnly);
        if (made === undefined) return;
        if (opened.model() !== made.model) this.#pending = new Set(this.#entries.keys());
        const directions = [...texts.keys()].map(
          // A text without a usable vector is not tried again.
          (hash, index) => [hash, directionOf(made.vectors[index] ?? []) ?? new Int8Array(1)] as const,
        );
        await opened.put(made.model, new Map(directions));
      }
      for (const id of ids)
        if (opened.get(this.#hashOf(id)) !== undefined || !this.#entries.has(id)) this.#pending.delete(id);
      if (this.#pending.size === 0 && texts.size === 0) break;
    }
    await opened.tidy(
      this.#entries.size + unrelated.length,
      () => new Set([...this.#entries.keys()].map((id) => this.#hashOf(id)).concat(unrelated.map(hashOfText))),
    );
  }

  #noted(error: unknown): undefined {
    if (this.#closing.signal.aborted) return undefined;
    this.#parts.log.debug(`recall: no vectors: ${messageOf(error)}`);
    return undefined;
  }

  /** The query's direction. A new model makes all vectors pending. */
  async #begin(text: string, isLoadedOnly: boolean): Promise<Int8Array | undefined> {
    const opened = await this.#open();
    const made = await this.#embedded([fittingEnds(text)], "query", isLoadedOnly);
    if (made === undefined) return undefined;
    if (opened.model() !== made.model) {
      // The existing vectors are of another model: they are discarded and made again.
      this.#pending = new Set(this.#entries.keys());
      await opened.put(made.model, new Map());
    }
    return directionOf(made.vectors[0] ?? []);
  }

  #compare(opened: VectorCache, direction: Int8Array) {
    const vectors = unrelated.flatMap((text) => opened.get(hashOfText(text)) ?? []);
    if (vectors.length < unrelated.length) return undefined;
    const similarities = vectors.map((vector) => similarityOf(direction, vector));
    const mean = similarities.reduce((sum, value) => sum + value, 0) / similarities.length;
    const variance = similarities.reduce((sum, value) => sum + (value - mean) ** 2, 0) / similarities.length;
    return {
      /** Similarity of each entry that has a vector. */
      similarityOf: (id: string) => {
        const vector = opened.get(this.#hashOf(id));
        return vector === undefined ? undefined : similarityOf(direction, vector);
      },
      /**
       * The similarity to unrelated texts plus this many standard deviations; higher similarities are not accidental. It is
       * measured for each query, because the scale of similarities differs between models.
       */
      threshold: (deviations: number) => mean + deviations * Math.sqrt(variance),
    };
  }
}

/**
 * How similar texts are to a query by meaning, in their order, as far as an embedding model answers within 20 s; fewer or
 * none otherwise. They are not kept. Rejects only when `signal` aborts.
 */
export async function similaritiesTo(
  query: string,
  texts: readonly string[],
  { embed, signal }: { readonly embed: Embed; readonly signal: AbortSignal },
): Promise<readonly number[]> {
  const similarities: number[] = [];
  const compare = async (either: AbortSignal): Promise<void> => {
    const asked = await embed([fittingEnds(query)], either, { kind: "query" });
    const direction = directionOf(asked?.vectors[0] ?? []);
    if (asked === undefined || direction === undefined) return;
    for (let at = 0; at < texts.length && !either.aborted; at += passagesAtOnce) {
      const batch = texts.slice(at, at + passagesAtOnce).map(fitting);
      const made = await shortening(batch, (shorter) =>
        embed(shorter, either, { kind: "document", model: asked.model }),
      );
      // Vectors of another model don't compare.
      if (made?.model !== asked.model) break;
      for (const vector of made.vectors)
        similarities.push(similarityOf(direction, directionOf(vector) ?? new Int8Array()));
    }
  };
  const stop = (): void => undefined;
  // Words suffice where there are no vectors.
  await within({ ms: passagesLimitMs, signal }, compare, stop).catch(stop);
  throwIfCancelled(signal, "searching passages");
  return [...similarities];
}

function textOf({ key, value, tags }: MemoryEntry): string {
  return fitting(`${key}: ${value}${tags.length === 0 ? "" : ` (${tags.join(", ")})`}`);
}

/** The text, shortened to its beginning where it is too long. */
function fitting(text: string): string {
  let fit = text.slice(0, textTokens * 6);
  while (estimateTokens(fit) > textTokens) fit = fit.slice(0, Math.floor(fit.length * 0.8));
  return fit;
}

/** The text, shortened to its beginning and end where it is too long: a question may follow its subject. */
function fittingEnds(text: string): string {
  for (let characters = textTokens * 3; ; characters = Math.floor(characters * 0.8)) {
    const fit = endsOf(text, characters);
    if (estimateTokens(fit) <= textTokens) return fit;
  }
}

/** Retries with half of each text while they are too long for the model. */
async function shortening<Answer>(texts: readonly string[], ask: (texts: readonly string[]) => Promise<Answer>) {
  for (let shortened = texts; ; shortened = shortened.map((text) => text.slice(0, Math.ceil(text.length / 2)))) {
    try {
      return await ask(shortened);
    } catch (error) {
      if (!(error instanceof PromptTooLong) || shortened.every((text) => text.length < shortestText)) throw error;
    }
  }
}

function hashOfText(text: string): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, 22);
}
