import { once } from "node:events";
import { closeSync, existsSync, openSync, readdirSync } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { crc32 } from "node:zlib";
import { freeDiskBytes } from "../../../storage/replace-file.ts";
import { messageOf } from "../../../util/values.ts";
import { throwIfAborted } from "./failure.ts";
import type { ContextSequence, Token } from "./node-llama-cpp.ts";
import type { GenerateRequest } from "./protocol.ts";
import type { Pause } from "./sequences.ts";
import { bytesOf, commonLength, copyFor } from "./state-file.ts";

/** What reading takes longer than writing by this factor is written: a conversation may not continue. */
const worth = 5;
/** What takes less to read is read. */
const leastMs = 50;
/** Until a write was measured, a request waits for one only if reading a token takes longer. */
const slowReadMs = 1;
/** Default limit of all files: a share of the disk that is free without them, and never more than this. */
const [freeShare, mostBytes] = [0.1, 16 * 1024 ** 3];
/** What a token takes until it was measured: more than those of models of 70 billion parameters. */
const mostTokenBytes = 512 * 1024;
/** A file that is being written grows. */
const abandonedMs = 60_000;

/** A file's name says how many tokens it holds, what reading them took, and the checksum of its bytes. */
const namePattern = /^(\d{1,9})-(\d{1,9})-([\da-f]{8})\.state$/;

interface PromptFile {
  readonly path: string;
  readonly tokens: number;
  readonly readMs: number;
  readonly checksum: number;
  /** Length of the prefix that it shares with a prompt. */
  readonly commonTokens: number;
}

/** How one request uses the files. */
interface PromptUse extends Pick<GenerateRequest, "promptCacheBytes"> {
  readonly pause: Pause;
  readonly signal: AbortSignal;
  /** Window of a sequence. */
  readonly contextTokens: number;
  readonly progressed: () => void;
}

/**
 * The states of sequences on disk, so that a prompt that was read before is not read again after its model was unloaded
 * or another conversation took its sequence. A file holds what llama.cpp writes: the tokens, and the keys and values that
 * were computed from them. llama.cpp believes every bit of it and aborts the process at a truncated one, so the checksum is
 * compared first. It covers the name of the folder, too, so that a file of another model is none of this one's.
 */
export class PromptFiles {
  readonly #folder: string;
  readonly #seed: number;
  /** Sequences with tokens that may be written, and the limit of their last request. */
  readonly #unsaved = new Map<ContextSequence, number | undefined>();
  /** Those whose last prompt may be on disk, with its limit. */
  readonly #limits = new WeakMap<ContextSequence, number | undefined>();
  /** Bytes of what is on its way to another context. */
  #parkedBytes = 0;
  #saving: Promise<void> = Promise.resolve();
  /** The one that is being written: its tokens may not change. */
  #written: ContextSequence | undefined;
  #parts = 0;
  /** As measured in this process; 0: not yet. */
  #readMs = 0;
  #writeMs = 0;
  #restoreMs = 0;
  #bytes = 0;

  /** `folder`: of this model; beside it are those of others. */
  constructor(folder: string) {
    this.#folder = folder;
    this.#seed = crc32(folder.slice(dirname(folder).length));
  }

  /** So many tokens of a prompt were read in so many milliseconds. */
  measured(tokens: number, ms: number): void {
    this.#readMs = this.#readMs === 0 ? ms / tokens : (this.#readMs + ms / tokens) / 2;
  }

  /**
   * Before a prompt is read: writes what the sequence loses by it, and restores what a file holds of it, if that takes less
   * time than reading. Returns how many tokens were restored. Throws only if the request is cancelled.
   */
  async prepare(sequence: ContextSequence, prompt: Token[], use: PromptUse): Promise<number> {
    const held = sequence.compareContextTokens(prompt).firstDifferentIndex;
    throwIfAborted(use.signal);
    const isWritten = this.#unsaved.has(sequence) && (this.#writeMs > 0 || this.#readMs > slowReadMs);
    const isLost = isWritten && held < sequence.nextTokenIndex;
    if (isLost) void this.#save(sequence, held);
    if (isLost || this.#written === sequence) await Promise.race([this.#saving, once(use.signal, "abort")]);
    throwIfAborted(use.signal);
    this.#unsaved.delete(sequence);
    try {
      return await this.#restore(sequence, prompt, held, use);
    } catch (error) {
      throwIfAborted(use.signal);
      warn("was not restored", error);
      return 0;
    }
  }

  /** After a request whose tokens the sequence holds. */
  ended(sequence: ContextSequence, { promptCacheBytes }: Pick<GenerateRequest, "promptCacheBytes">): void {
    if (promptCacheBytes === 0) this.#limits.delete(sequence);
    else this.#limits.set(sequence, promptCacheBytes);
    if (this.mayWrite(sequence)) this.#unsaved.set(sequence, promptCacheBytes);
  }

  /** The state of a sequence with a sliding window or a recurrent state can't be cut to a prefix. */
  mayWrite(sequence: ContextSequence): boolean {
    return this.#limits.has(sequence) && !sequence.needsCheckpoints;
  }

  /**
   * Writes what a sequence holds, and returns how to move it into an empty one of another context, or to delete it. Undefined: it
   * holds fewer tokens than that, or its last prompt is not to be on disk, or there is no room, or that failed; it will be read
   * again.
   */
  async park(sequence: ContextSequence, minTokens: number) {
    await this.#saving;
    const [isUnsaved, maxBytes, tokens] = [
      this.#unsaved.has(sequence),
      this.#limits.get(sequence),
      sequence.contextTokens,
    ];
    if (tokens.length < minTokens || !this.mayWrite(sequence)) {
      // It may be worth a file all the same.
      await this.#save(sequence, 0);
      return undefined;
    }
    const part = this.#nextPart();
    let bytes = 0;
    const forget = async () => {
      this.#parkedBytes -= bytes;
      await rm(part, { force: true }).catch(() => undefined);
    };
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      const limit = await makeRoom(dirname(this.#folder), maxBytes, 0);
      if (this.#parkedBytes + (this.#bytes || mostTokenBytes) * tokens.length > limit)
        throw new Error("there is no room for it");
      this.#unsaved.delete(sequence);
      await (await open(part, "wx", 0o600)).close();
      const { fileSize } = await sequence.saveStateToFile(part);
      const { size } = await stat(part);
      if (size !== fileSize) throw new Error(`${size} of ${fileSize} bytes were written`);
      [this.#bytes, bytes] = [size / tokens.length, size];
      this.#parkedBytes += bytes;
    } catch (error) {
      warn("was not kept", error);
      await forget();
      // Those of others may make room for it.
      await this.#save(sequence, 0);
      return undefined;
    }
    return async (to?: ContextSequence) => {
      try {
        if (to !== undefined) await this.#load(to, part, tokens.length);
        const isWhole = to?.compareContextTokens(tokens).firstDifferentIndex === tokens.length;
        if (to === undefined || !isWhole || to.nextTokenIndex !== tokens.length) throw new Error("its tokens are lost");
        this.#limits.set(to, maxBytes);
        if (isUnsaved) this.#unsaved.set(to, maxBytes);
      } catch (error) {
        warn("was not restored", error);
        await to?.adaptStateToTokens([], false);
      } finally {
        await forget();
      }
    };
  }

  /** Writes what is not on disk, while `isIdle`. */
  async saveAll(isIdle: () => boolean): Promise<void> {
    for (const sequence of this.#unsaved.keys()) if (isIdle()) await this.#save(sequence, 0);
    await this.#saving;
  }

  /** One at a time. */
  #save(sequence: ContextSequence, keptTokens: number): Promise<void> {
    this.#saving = this.#saving.then(async () => {
      if (!this.#unsaved.has(sequence)) return;
      const maxBytes = this.#unsaved.get(sequence);
      this.#unsaved.delete(sequence);
      this.#written = sequence;
      const part = this.#nextPart();
      try {
        await this.#write(sequence, part, keptTokens, maxBytes);
      } catch (error) {
        // A full disk, a folder that is gone: it will be read again.
        warn("was not kept", error);
        await rm(part, { force: true }).catch(() => undefined);
      }
      this.#written = undefined;
      // What is not worth a file doesn't make room, and the setting may be smaller than it was.
      await makeRoom(dirname(this.#folder), maxBytes, 0).catch(() => undefined);
    });
    return this.#saving;
  }

  async #write(sequence: ContextSequence, part: string, keptTokens: number, maxBytes: number | undefined) {
    const tokens = sequence.contextTokens;
    const isWorth = (known: number) =>
      (tokens.length - known) * this.#readMs > Math.max(leastMs, worth * this.#writeMs * tokens.length);
    if (!isWorth(keptTokens)) return;
    const files = this.#list(tokens);
    if (!isWorth(Math.max(keptTokens, ...files.map(({ commonTokens }) => commonTokens)))) return;
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const limit = await makeRoom(dirname(this.#folder), maxBytes, this.#bytes * tokens.length);
    if (this.#bytes * tokens.length > limit) return;
    const startedAt = performance.now();
    const measure = () => void (this.#writeMs = (performance.now() - startedAt) / tokens.length);
    // llama.cpp would create it readable for all.
    await (await open(part, "wx", 0o600)).close();
    const { fileSize } = await sequence.saveStateToFile(part).finally(measure);
    const { checksum, bytes } = await this.#checksum(part, () => undefined);
    if (bytes !== fileSize) throw new Error(`${bytes} of ${fileSize} bytes were written`);
    measure();
    if (commonLength(part, tokens.length, tokens) < tokens.length) throw new Error("its tokens have changed");
    this.#bytes = bytes / tokens.length;
    const readMs = Math.round(this.#readMs * tokens.length);
    if (bytes > limit) throw new Error(`it takes ${bytes} bytes of ${limit}`);
    const name = `${tokens.length}-${readMs}-${checksum.toString(16).padStart(8, "0")}.state`;
    await rename(part, join(this.#folder, name));
    // The same conversation, when it was shorter, or with an answer that was left.
    const covered = files.filter((file) => file.tokens - file.commonTokens <= file.tokens / 8);
    for (const { path } of covered) if (!path.endsWith(name)) await rm(path, { force: true });
  }

  async #restore(sequence: ContextSequence, prompt: Token[], held: number, use: PromptUse): Promise<number> {
    const { pause, signal, promptCacheBytes, contextTokens, progressed } = use;
    if (promptCacheBytes === 0 || sequence.needsCheckpoints) return 0;
    if (this.#readMs > 0 && (prompt.length - held) * this.#readMs < leastMs) return 0;
    for (const { path, tokens, readMs, checksum, commonTokens } of this.#list(prompt)) {
      const gainMs = (commonTokens - held) * (this.#readMs === 0 ? readMs / tokens : this.#readMs);
      if (gainMs < Math.max(leastMs, 2 * this.#restoreMs * tokens) || tokens >= contextTokens) continue;
      const startedAt = performance.now() - pause.pausedMs;
      const measure = () => (this.#restoreMs = (performance.now() - pause.pausedMs - startedAt) / tokens);
      const read = await this.#checksum(path, async () => {
        progressed();
        await pause.pass();
        throwIfAborted(signal);
        // The disk is slow: reading the prompt is faster.
        if (measure() * tokens > gainMs / 2) throw new Error(`${path} takes longer than its prompt`);
      });
      if (read.checksum !== checksum) {
        warn("is damaged, and was deleted", path);
        await rm(path, { force: true });
        continue;
      }
      // A load that fails must not leave a part of what was there before.
      await sequence.adaptStateToTokens([], false);
      await this.#load(sequence, path, tokens);
      const isWhole = sequence.nextTokenIndex === tokens;
      if (isWhole && sequence.compareContextTokens(prompt).firstDifferentIndex === commonTokens) {
        measure();
        const now = new Date();
        await utimes(path, now, now).catch(() => undefined);
        return commonTokens;
      }
      await sequence.adaptStateToTokens([], false);
      throw new Error(`${path} holds other tokens than it says`);
    }
    return 0;
  }

  /** Those of this model that share a prefix with a prompt, the longest one first. */
  #list(prompt: readonly number[]): readonly PromptFile[] {
    const files: PromptFile[] = [];
    for (const name of existsSync(this.#folder) ? readdirSync(this.#folder) : []) {
      const [, tokens, readMs, checksum = ""] = namePattern.exec(name) ?? [];
      if (tokens === undefined) continue;
      const path = join(this.#folder, name);
      const commonTokens = commonLength(path, Number(tokens), prompt);
      if (commonTokens === 0) continue;
      const numbers = { tokens: Number(tokens), readMs: Number(readMs), checksum: Number.parseInt(checksum, 16) };
      files.push({ path, ...numbers, commonTokens });
    }
    return files.toSorted((one, other) => other.commonTokens - one.commonTokens);
  }

  /** llama.cpp refuses a file of a context with another number of sequences, so a copy says that it is of such a one. */
  async #load(sequence: ContextSequence, path: string, tokens: number): Promise<void> {
    const count = sequence.context?.totalSequences;
    const copy = count === undefined ? undefined : this.#nextPart();
    try {
      const isCopied = copy !== undefined && (await copyFor(count ?? 1, path, copy, tokens));
      await sequence.loadStateFromFile(isCopied ? copy : path, { acceptRisk: true });
    } finally {
      if (copy !== undefined) await rm(copy, { force: true }).catch(() => undefined);
    }
  }

  #nextPart(): string {
    return join(this.#folder, `${process.pid}-${(this.#parts += 1)}.part`);
  }

  async #checksum(path: string, passed: () => unknown) {
    const file = openSync(path, "r");
    try {
      let [checksum, bytes] = [this.#seed, 0];
      for await (const chunk of bytesOf(file)) {
        checksum = crc32(chunk, checksum);
        bytes += chunk.length;
        await passed();
      }
      return { checksum, bytes };
    } finally {
      closeSync(file);
    }
  }
}

/**
 * Deletes files of all models, the least recently used first, until `bytes` more are within the limit, and what a killed
 * process left. Returns the limit.
 */
async function makeRoom(folder: string, maxBytes: number | undefined, bytes: number): Promise<number> {
  const files: { path: string; size: number; mtimeMs: number }[] = [];
  for (const path of await readdir(folder, { recursive: true })) {
    // Another process may have deleted it.
    const found = await stat(join(folder, path)).catch(() => undefined);
    if (found?.isFile() === true) files.push({ path: join(folder, path), size: found.size, mtimeMs: found.mtimeMs });
  }
  let total = files.reduce((sum, { size }) => sum + size, 0);
  const limit = maxBytes ?? Math.min(mostBytes, freeShare * (total + (await freeDiskBytes(folder))));
  for (const { path, size, mtimeMs } of files.toSorted((one, other) => one.mtimeMs - other.mtimeMs)) {
    const isPart = path.endsWith(".part");
    if (isPart ? Date.now() - mtimeMs < abandonedMs : bytes > limit || total + bytes <= limit) continue;
    await rm(path, { force: true });
    total -= size;
  }
  return limit;
}

const warn = (what: string, about: unknown): void =>
  void process.stderr.write(`[warn] a prompt's file ${what}: ${messageOf(about)}\n`);
