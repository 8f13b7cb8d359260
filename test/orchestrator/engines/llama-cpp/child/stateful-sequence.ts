import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { ContextSequence, Token } from "../../../../../src/orchestrator/engines/llama-cpp/child/node-llama-cpp.ts";
import { PromptFiles } from "../../../../../src/orchestrator/engines/llama-cpp/child/prompt-files.ts";
import { Pause } from "../../../../../src/orchestrator/engines/llama-cpp/child/sequences.ts";

export const window = 4_096;
export const always = () => true;

/**
 * A sequence whose keys and values say from which tokens they were computed, as llama.cpp's do: each depends on all tokens
 * before it. What it holds can so be compared with what reading would have given, whatever it says that it holds.
 */
export class Sequence {
  tokens: Token[] = [];
  values: number[] = [];
  readonly needsCheckpoints: boolean;
  /** Called before bytes are written. */
  onSave: (path: string) => Promise<void> | void = () => undefined;
  loads = 0;

  constructor(needsCheckpoints = false) {
    this.needsCheckpoints = needsCheckpoints;
  }

  get nextTokenIndex() {
    return this.tokens.length;
  }
  get contextTokens() {
    return [...this.tokens];
  }
  compareContextTokens(other: readonly Token[]) {
    const different = this.tokens.findIndex((token, index) => token !== other[index]);
    return { firstDifferentIndex: different < 0 ? Math.min(this.tokens.length, other.length) : different };
  }
  async adaptStateToTokens(other: Token[]) {
    this.cut(this.compareContextTokens(other).firstDifferentIndex);
  }
  cut(length: number) {
    this.tokens.length = length;
    this.values.length = length;
  }
  read(tokens: readonly Token[]) {
    for (const token of tokens) {
      this.values.push(valueAfter(this.values.at(-1), token));
      this.tokens.push(token);
    }
  }
  async saveStateToFile(path: string) {
    const numbers = Uint32Array.from([0x67_67_73_71, 2, this.tokens.length, ...this.tokens, ...this.values]);
    const bytes = Buffer.from(numbers.buffer);
    await this.onSave(path);
    await writeFile(path, bytes, { flag: "r+" });
    return { fileSize: bytes.length };
  }
  async loadStateFromFile(path: string) {
    this.loads += 1;
    const bytes = await readFile(path);
    const count = bytes.readUInt32LE(8);
    // llama.cpp ends the process.
    if (bytes.length !== 12 + 8 * count) throw new Error("GGML_ASSERT");
    const numbers = Array.from({ length: 2 * count }, (_, index) => bytes.readUInt32LE(12 + 4 * index));
    this.tokens = numbers.slice(0, count) as Token[];
    this.values = numbers.slice(count);
  }
  /** Whether it holds what reading its tokens would have given. */
  get isTrue() {
    let value: number | undefined;
    return (
      this.values.length === this.tokens.length &&
      this.tokens.every((token, index) => (value = valueAfter(value, token)) === this.values[index])
    );
  }
}

function valueAfter(before: number | undefined, token: number): number {
  return (Math.imul((before ?? 17) ^ token, 0x9e3779b1) ^ (token << 7)) >>> 0;
}

const asSequence = (sequence: Sequence) => sequence as unknown as ContextSequence;

export async function makeHome() {
  const root = await mkdtemp(join(tmpdir(), "ollm-prompts-"));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  return root;
}

/** As the generator uses it. */
export async function ask(
  files: PromptFiles,
  sequence: Sequence,
  prompt: Token[],
  {
    answer = [] as Token[],
    promptCacheBytes = undefined as number | undefined,
    signal = new AbortController().signal,
  } = {},
) {
  const use = { pause: new Pause(() => undefined, signal), signal, contextTokens: window, progressed: () => undefined };
  const given = promptCacheBytes === undefined ? {} : { promptCacheBytes };
  const restored = await files.prepare(asSequence(sequence), prompt, { ...use, ...given });
  await sequence.adaptStateToTokens(prompt);
  const cached = sequence.nextTokenIndex;
  sequence.read(prompt.slice(cached));
  sequence.read(answer);
  files.ended(asSequence(sequence), given);
  return { restored, cached };
}

/** A process of its own, which reads 1,000 tokens in so many milliseconds. */
export function started(root: string, { msPerThousand = 10_000, model = "weights-1" } = {}) {
  const files = new PromptFiles(join(root, model));
  if (msPerThousand > 0) files.measured(1_000, msPerThousand);
  return files;
}

export const text = (seed: number, length: number): Token[] =>
  Array.from({ length }, (_, index) => (Math.imul(seed, 7919) + Math.imul(index, 31) + 1) & 0x7fff) as Token[];
export const states = async (root: string) =>
  (await readdir(root, { recursive: true })).filter((name) => name.endsWith(".state")).map((name) => join(root, name));
