import { describe, expect, it } from "vitest";
import type { ContextSequence, Token } from "../../../../../src/orchestrator/engines/llama-cpp/child/node-llama-cpp.ts";
import { Conversations, Pause } from "../../../../../src/orchestrator/engines/llama-cpp/child/sequences.ts";
import { createThreadContest } from "../../../../../src/orchestrator/engines/llama-cpp/child/threads.ts";
import { Turns } from "../../../../../src/orchestrator/engines/llama-cpp/child/turns.ts";
import { Sequence, always, makeHome, started, text } from "./stateful-sequence.ts";

const never = new AbortController().signal;
const pause = () => new Pause(() => undefined, new AbortController().signal);

/** Conversations of fake sequences; `ask` claims one, reads the prompt, and returns how to end. */
async function start(needsCheckpoints = false) {
  const files = started(await makeHome(), { msPerThousand: 100_000 });
  const measured: string[] = [];
  const turns = new Turns(
    { begin: () => void measured.push("other"), beforeToken: () => void measured.push("token") },
    { batchTokens: 128, llama: { maxThreads: 1 }, contest: createThreadContest(1, 5) },
  );
  const openContext = async (count: number) => {
    const own = Array.from({ length: count }, () => {
      const sequence = new Sequence(needsCheckpoints) as Sequence & { evaluate?: unknown };
      sequence.evaluate = async function* () {};
      return sequence as unknown as ContextSequence;
    });
    return { sequences: own, dispose: async () => {} };
  };
  const parts = { firstContext: await openContext(1), openContext, changed: () => {}, turns, files };
  const conversations = new Conversations(parts);
  const ask = async (prompt: Token[], sequences: number, promptCacheBytes = 1_000_000_000) => {
    const { sequence, release } = await conversations.claim(prompt, sequences, pause(), never);
    const cached = sequence.compareContextTokens(prompt).firstDifferentIndex;
    await sequence.adaptStateToTokens(prompt, false);
    (sequence as unknown as Sequence).read(prompt.slice(cached));
    const end = () => {
      files.ended(sequence, { promptCacheBytes });
      release();
    };
    return { cached, end };
  };
  return { conversations, ask, measured };
}

describe("conversations", () => {
  it("take the end of a prompt for no token of the answer, where states can't be cut", async () => {
    const { conversations, measured } = await start(true);
    const { sequence, release } = await conversations.claim(text(1, 9), 1, pause(), never);
    for (const tokens of [text(1, 1), text(1, 3)])
      for await (const _ of sequence.evaluate(tokens, {})) throw new Error("it writes nothing");
    release();
    expect(measured).toEqual(["token", "other"]);
  });

  it("move to the new context when they end, also where later ones have used all of it", async () => {
    const { conversations, ask } = await start();
    const long = text(1, 900);
    const first = await ask(long, 1);
    for (const beside of [2, 3]) (await ask(text(beside, 100), 2)).end();
    first.end();
    // It waits for the move.
    const again = await ask([...long, ...text(9, 3)], 2);
    expect(again.cached).toBe(long.length);
    again.end();
    expect(conversations.count).toBe(2);
  });

  it.each([
    ["no prompt is to be on disk", false, 0],
    ["states can't be cut", true, 1_000_000_000],
  ])("that can't be moved stay where they are: %s", async (_why, needsCheckpoints, promptCacheBytes) => {
    const { conversations, ask } = await start(needsCheckpoints);
    const long = text(1, 900);
    (await ask(text(2, 100), 2, promptCacheBytes)).end();
    (await ask(long, 2, promptCacheBytes)).end();
    await conversations.shrink(always);
    const again = await ask([...long, ...text(9, 3)], 2, promptCacheBytes);
    expect(again.cached).toBe(long.length);
  });
});
