import { readdir } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { Conversations, Pause } from "../../../../../src/orchestrator/engines/llama-cpp/child/sequences.ts";
import type { ContextSequence, Token } from "../../../../../src/orchestrator/engines/llama-cpp/child/node-llama-cpp.ts";
import { createThreadContest } from "../../../../../src/orchestrator/engines/llama-cpp/child/threads.ts";
import { Turns } from "../../../../../src/orchestrator/engines/llama-cpp/child/turns.ts";
import { Sequence, makeHome, started, text, window } from "./stateful-sequence.ts";

/** A sequence that computes with a delay, as a context does, and repeats its last tokens. */
class Computing extends Sequence {
  isDisposed = false;
  isComputing = false;
  async evaluateWithoutGeneratingNewTokens(tokens: readonly Token[]) {
    await this.#compute(tokens);
  }
  async *evaluate(tokens: readonly Token[]): AsyncGenerator<Token, void, Token | undefined> {
    for (let next = tokens; ;) {
      await this.#compute(next);
      const written = ((this.values.at(-1) ?? 0) & 0x7fff) as Token;
      next = [(yield written) ?? written];
    }
  }
  async #compute(tokens: readonly Token[]) {
    if (this.isDisposed) throw new Error("the context is gone");
    if (this.isComputing) throw new Error("two requests compute with one sequence");
    this.isComputing = true;
    await Promise.resolve();
    this.read(tokens);
    this.isComputing = false;
  }
}

const real = (sequence: Sequence) => sequence as unknown as ContextSequence;
const fake = (sequence: ContextSequence) => sequence as unknown as Computing;

describe("10,000 interleavings of answers that are computed at the same time", () => {
  it("give each conversation its own text, whatever is paused, cancelled, moved and restored", async () => {
    const root = await makeHome();
    let state = 4_711;
    const random = (below: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const files = started(root, { msPerThousand: 100_000 });
    const steps: number[] = [];
    const turns = new Turns(
      { begin: () => undefined, beforeToken: (answers) => void steps.push(answers) },
      { batchTokens: 128, llama: { maxThreads: 1 }, contest: createThreadContest(1, 5) },
    );
    let opened = 0;
    const openContext = async (count: number) => {
      opened += 1;
      if (opened > 1 && random(20) === 0) throw new Error("no memory");
      const sequences = Array.from({ length: count }, () => new Computing());
      return {
        sequences: sequences.map(real),
        dispose: async () => sequences.forEach((each) => (each.isDisposed = true)),
      };
    };
    const parts = { firstContext: await openContext(1), openContext, changed: () => undefined, turns, files };
    let conversations = new Conversations(parts);
    // The secret of a conversation is in its tokens.
    const texts = Array.from({ length: 10 }, (_, index) => text(index % 5, 70 + random(40)));
    const counts = { wrong: 0, answered: 0, cancelled: 0, refused: 0, restored: 0, cached: 0 };
    const inUse = new Set<object>();

    async function request(step: number, sequences: number): Promise<void> {
      const which = random(texts.length);
      const prompt = [...(texts[which] ?? []), ...text(1_000 + step, 1 + random(12))];
      const controller = new AbortController();
      const { signal } = controller;
      const pause = new Pause(() => undefined, signal);
      const given = { promptCacheBytes: random(4) === 0 ? 0 : 8_000 };
      const act = () => {
        const what = random(60);
        if (what === 0) controller.abort(new Error("cancelled"));
        if (what === 1) {
          pause.ask();
          setImmediate(() => pause.end());
        }
      };
      let held: { readonly sequence: ContextSequence; release(): void } | undefined;
      try {
        held = await conversations.claim(prompt, sequences, pause, signal);
        const sequence = fake(held.sequence);
        if (inUse.has(sequence)) counts.wrong += 1;
        inUse.add(sequence);
        const beforeLast = prompt.slice(0, -1);
        const use = { ...given, pause, signal, contextTokens: window, progressed: act };
        counts.restored += (await files.prepare(held.sequence, beforeLast, use)) > 0 ? 1 : 0;
        await sequence.adaptStateToTokens(beforeLast);
        counts.cached += sequence.nextTokenIndex > 60 ? 1 : 0;
        while (sequence.nextTokenIndex < beforeLast.length) {
          signal.throwIfAborted();
          await pause.pass();
          const left = beforeLast.slice(sequence.nextTokenIndex);
          await turns.piece(held.sequence.context, left.length, step, async (count) => {
            const piece = left.slice(0, Math.min(count, 1 + random(50)));
            await sequence.evaluateWithoutGeneratingNewTokens(piece);
            return piece.length;
          });
        }
        let left = 5 + random(40);
        for await (const _ of held.sequence.evaluate(prompt.slice(-1))) {
          act();
          signal.throwIfAborted();
          if ((left -= 1) === 0) break;
        }
        const isOwn = prompt.every((token, index) => sequence.tokens[index] === token);
        if (!isOwn || !sequence.isTrue || sequence.isDisposed) counts.wrong += 1;
        counts.answered += 1;
        if (random(3) === 0) texts[which] = sequence.tokens.length > 300 ? text(which % 5, 80) : sequence.contextTokens;
      } catch (error) {
        const { message } = error as Error;
        if (message.includes("cancelled")) counts.cancelled += 1;
        else if (message.includes("all sequences")) counts.refused += 1;
        else throw error;
      } finally {
        if (held !== undefined) {
          files.ended(held.sequence, given);
          inUse.delete(held.sequence);
          held.release();
        }
      }
    }

    const running = new Set<Promise<void>>();
    for (let step = 0; step < 10_000; step += 1) {
      const sequences = 2 ** random(4);
      // As the engine does.
      while (running.size >= Math.max(sequences, conversations.count)) await Promise.race(running);
      const asked = request(step, sequences);
      const entry: Promise<void> = asked.finally(() => running.delete(entry));
      running.add(entry);
      if (random(50) === 0) {
        await Promise.all(running);
        if (random(2) === 0) await files.saveAll(() => true);
        if (random(2) === 0) await conversations.shrink(() => running.size === 0);
        if (random(10) === 0)
          conversations = new Conversations({
            ...parts,
            firstContext: await openContext(1).catch(() => openContext(1)),
          });
      }
    }
    await Promise.all(running);
    await files.saveAll(() => true);
    expect(counts.wrong).toBe(0);
    expect(counts.answered).toBeGreaterThan(6_000);
    expect(counts.cancelled).toBeGreaterThan(500);
    expect(counts.cached).toBeGreaterThan(1_000);
    expect(counts.restored).toBeGreaterThan(100);
    expect(steps.filter((answers) => answers > 1).length).toBeGreaterThan(1_000);
    // Nothing that was on its way to another context is left.
    expect((await readdir(root, { recursive: true })).filter((name) => name.endsWith(".part"))).toEqual([]);
  }, 600_000);
});
