import { chmod, mkdir, readFile, readdir, rename, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { createGenerator } from "../../../../../src/orchestrator/engines/llama-cpp/child/generate.ts";
import { Pause } from "../../../../../src/orchestrator/engines/llama-cpp/child/sequences.ts";
import { Sequence, always, ask, makeHome, started, states, text, window } from "./stateful-sequence.ts";

const file = text(1, 900);
const question = (seed: number) => [...file, ...text(seed, 40)];

const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
async function filesWith(root: string, tokens: readonly number[]) {
  const bytes = Buffer.from(Uint32Array.from(tokens).buffer);
  const found = await Promise.all((await states(root)).map((path) => readFile(path)));
  return found.filter((content) => content.includes(bytes));
}

describe("what a model has read", () => {
  it("is restored in another process, of another window, and the rest is read", async () => {
    const root = await makeHome();
    const [files, sequence] = [started(root), new Sequence()];
    await ask(files, sequence, question(2), { answer: text(3, 20) });
    await files.saveAll(always);
    const again = new Sequence();
    // It has not read anything: the file says how long that took.
    expect(await ask(started(root, { msPerThousand: 0 }), again, question(4))).toEqual({ restored: 900, cached: 900 });
    expect(again.tokens).toEqual(question(4));
    expect(again.isTrue).toBe(true);
  });
  it("is only for this user's eyes", async () => {
    const root = await makeHome();
    const [files, sequence] = [started(root), new Sequence()];
    let partMode = 0;
    sequence.onSave = async (path) => void (partMode = (await stat(path)).mode);
    await ask(files, sequence, question(2));
    await files.saveAll(always);
    const [path = ""] = await states(root);
    if (process.platform === "win32") return;
    const modes = await Promise.all(
      [join(root, "weights-1"), path].map(async (each) => (await stat(each)).mode & 0o777),
    );
    expect([...modes, partMode & 0o777]).toEqual([0o700, 0o600, 0o600]);
  });
  it("is not looked for where the cache holds the prompt, or reading is quick", async () => {
    const root = await makeHome();
    const [files, sequence] = [started(root), new Sequence()];
    await ask(files, sequence, question(2));
    await files.saveAll(always);
    expect(await ask(files, sequence, question(4))).toEqual({ restored: 0, cached: 900 });
    const quick = new Sequence();
    expect(await ask(started(root, { msPerThousand: 20 }), quick, question(4))).toEqual({ restored: 0, cached: 0 });
    expect(quick.loads + sequence.loads).toBe(0);
  });
  it("is not written where reading it again is quick", async () => {
    const root = await makeHome();
    const [files, sequence] = [started(root, { msPerThousand: 20 }), new Sequence()];
    await ask(files, sequence, question(2));
    await files.saveAll(always);
    expect(await states(root)).toEqual([]);
  });
  it("is written before another conversation takes its place", async () => {
    const root = await makeHome();
    const [files, sequence] = [started(root), new Sequence()];
    await ask(files, sequence, question(2));
    await ask(files, sequence, text(50, 800));
    expect(sequence.tokens).toEqual(text(50, 800));
    expect(await ask(files, sequence, question(4))).toEqual({ restored: 900, cached: 900 });
    expect(sequence.isTrue).toBe(true);
  });
  it("is one file for a conversation of 20 turns, written when what is new is worth it", async () => {
    const root = await makeHome();
    const [files, sequence] = [started(root, { msPerThousand: 1_000 }), new Sequence()];
    let writes = 0;
    sequence.onSave = () => void (writes += 1);
    let said = [...file];
    for (let turn = 0; turn < 20; turn += 1) {
      said = [...said, ...text(100 + turn, 20)];
      await ask(files, sequence, said);
      await files.saveAll(always);
    }
    expect(await states(root)).toHaveLength(1);
    expect(writes).toBeGreaterThan(1);
    expect(writes).toBeLessThan(15);
  });
  it.each([
    ["with cache_prompt: false", { promptCacheBytes: 0 }, false],
    ["of a sliding window or a recurrent state, which can't be cut to a prefix", {}, true],
  ])("is neither written nor looked for %s", async (_, options, needsCheckpoints) => {
    const root = await makeHome();
    const [files, sequence] = [started(root), new Sequence(needsCheckpoints)];
    await ask(files, sequence, question(2), options);
    await files.saveAll(always);
    await ask(files, sequence, text(60, 300), options);
    expect(await states(root)).toEqual([]);
    const other = new Sequence();
    await ask(files, other, question(2));
    await files.saveAll(always);
    expect(await ask(files, sequence, question(4), options)).toEqual({ restored: 0, cached: 0 });
  });
  it("leaves what a request without cache_prompt: false had read before it, and nothing of that request", async () => {
    const root = await makeHome();
    const [files, sequence] = [started(root), new Sequence()];
    await ask(files, sequence, question(2));
    await ask(files, sequence, [...file, ...text(77, 300)], { promptCacheBytes: 0 });
    await files.saveAll(always);
    await ask(files, sequence, text(60, 300));
    await files.saveAll(always);
    expect(await filesWith(root, text(77, 300))).toEqual([]);
  });
  it.each([0, undefined])("is written before a request that arrives meanwhile changes it (limit %s)", async (limit) => {
    const root = await makeHome();
    const [files, sequence] = [started(root), new Sequence()];
    await ask(files, sequence, file);
    const saving = files.saveAll(always);
    await new Promise((resolve) => setImmediate(resolve));
    await ask(files, sequence, [...file.slice(0, limit), ...text(77, 1_000)], { promptCacheBytes: limit });
    await saving;
    expect(await filesWith(root, text(77, 300))).toEqual([]);
    expect((await ask(started(root), new Sequence(), question(4))).restored).toBe(900);
  });
  it("is not kept if its tokens change while it is written", async () => {
    const root = await makeHome();
    const [files, sequence] = [started(root), new Sequence()];
    const save = sequence.saveStateToFile.bind(sequence);
    sequence.saveStateToFile = (path) => {
      sequence.cut(800);
      sequence.read(text(77, 100));
      return save(path);
    };
    await ask(files, sequence, file);
    await files.saveAll(always);
    expect(await states(root)).toEqual([]);
  });
  it("is never what a request with cache_prompt: false left, if the next one is cancelled before it changes it", async () => {
    const root = await makeHome();
    const files = started(root);
    const sequence = Object.assign(new Sequence(), { evaluate: () => undefined });
    await ask(files, sequence, text(77, 1_000), { promptCacheBytes: 0 });
    const cancelled = new AbortController();
    const { generate } = generatorOf(files, sequence);
    const emit = () => cancelled.abort();
    const asked = { messages: [], sequences: 1 } as never;
    const { signal } = cancelled;
    await expect(generate(asked, emit, signal, new Pause(() => undefined, signal))).rejects.toThrow("cancelled");
    await files.saveAll(always);
    expect(await states(root)).toEqual([]);
  });
});

const generatorOf = (files: ReturnType<typeof started>, sequence: Sequence, prefill?: unknown) => {
  const wrapper = { settings: {}, generateContextState: () => ({ contextText: { tokenize: () => file } }) };
  const firstContext = { sequences: [sequence] };
  const parts = {
    model: {},
    contextTokens: window,
    templateFor: () => wrapper,
    files,
    firstContext,
    prefill,
    turns: { leave: () => undefined },
  };
  return createGenerator(parts as never);
};

it("a prompt is known to be in the background while it is read", async () => {
  const sequence = Object.assign(new Sequence(), { evaluate: () => undefined });
  const prefill = async (_sequence: unknown, _tokens: unknown, { isBehind }: Pause) => {
    throw new Error(`behind: ${isBehind}`);
  };
  const { generate } = generatorOf(started(await makeHome()), sequence, prefill);
  const { signal } = new AbortController();
  const asked = { messages: [], sequences: 1, sampling: {}, isBehind: true } as never;
  const pause = new Pause(() => undefined, signal);
  await expect(generate(asked, () => undefined, signal, pause)).rejects.toThrow("behind: true");
});

describe("a file of a prompt that can't be used", () => {
  /** Writes a prompt, lets `damage` change its file, and asks again in another process. */
  async function afterDamage(damage: (path: string, root: string) => Promise<unknown>, again = started) {
    const root = await makeHome();
    const files = started(root);
    await ask(files, new Sequence(), text(9, 500));
    const sequence = new Sequence();
    await ask(files, sequence, question(2));
    await files.saveAll(always);
    for (const path of await states(root)) await damage(path, root);
    const other = new Sequence();
    const found = await ask(again(root), other, question(4));
    expect(other.tokens).toEqual(question(4));
    expect(other.isTrue).toBe(true);
    return { ...found, loads: other.loads, left: await states(root) };
  }
  const flip = async (path: string, at: number) => {
    const bytes = await readFile(path);
    const index = at < 0 ? bytes.length + at : at;
    bytes[index] = (bytes[index] ?? 0) ^ 4;
    await writeFile(path, bytes);
  };

  const readers = new Map([
    ["of other weights", "weights-2"],
    ["of another version of the engine", "weights-1.1"],
  ]);
  const moveTo = (model: string) => async (path: string, root: string) => {
    await mkdir(join(root, model), { recursive: true });
    await rename(path, join(root, model, basename(path)));
  };

  it.each<[string, (path: string, root: string) => Promise<unknown>]>([
    ["cut off", async (path) => truncate(path, (await stat(path)).size - 5)],
    ["cut to nothing", (path) => truncate(path, 0)],
    ["longer than it was", async (path) => writeFile(path, Buffer.alloc(8), { flag: "a" })],
    ["with a flipped bit in its values", (path) => flip(path, -40)],
    ["with a flipped bit in its tokens, beyond the prompt", (path) => flip(path, 12 + 4 * 920)],
    ["of other weights", moveTo("weights-2")],
    ["of another version of the engine", moveTo("weights-1.1")],
  ])("is deleted and the prompt read when it is %s", async (name, damage) => {
    const again = (root: string) => started(root, { model: readers.get(name) ?? "weights-1" });
    expect(await afterDamage(damage, again)).toMatchObject({ restored: 0, cached: 0, loads: 0 });
  });
  it("is not loaded with other tokens than the prompt's", async () => {
    expect(await afterDamage((path) => flip(path, 12 + 4 * 3))).toMatchObject({ loads: 0 });
  });
  it.skipIf(process.platform === "win32" || process.getuid?.() === 0)("is left when it can't be opened", async () => {
    expect(await afterDamage((path) => chmod(path, 0))).toMatchObject({ restored: 0, loads: 0 });
  });
  it("is not looked for by a window that is shorter", async () => {
    const root = await makeHome();
    const [files, sequence] = [started(root), new Sequence()];
    await ask(files, sequence, text(1, window + 10));
    await files.saveAll(always);
    expect(await ask(started(root), new Sequence(), question(2))).toEqual({ restored: 0, cached: 0 });
  });
});

describe("the disk", () => {
  it("that is full in the middle keeps nothing, and the answer has no error", async () => {
    const root = await makeHome();
    const [files, sequence] = [started(root), new Sequence()];
    sequence.onSave = async (path) => {
      await writeFile(path, "half");
      throw new Error("ENOSPC");
    };
    await ask(files, sequence, question(2));
    await files.saveAll(always);
    await ask(files, sequence, text(60, 300));
    expect((await readdir(root, { recursive: true })).filter((name) => name.includes("."))).toEqual([]);
  });
  it("that took fewer bytes than llama.cpp says keeps nothing", async () => {
    const root = await makeHome();
    const [files, sequence] = [started(root), new Sequence()];
    const save = sequence.saveStateToFile.bind(sequence);
    sequence.saveStateToFile = async (path) => ({ fileSize: (await save(path)).fileSize + 1 });
    await ask(files, sequence, question(2));
    await files.saveAll(always);
    expect(await states(root)).toEqual([]);
  });
  it("holds what the setting allows, across models: the least recently used goes first", async () => {
    const root = await makeHome();
    const old = new Date(Date.now() - 3_600_000);
    const bytes = 12 + 8 * 400;
    const write = async (model: string, seed: number, promptCacheBytes: number) => {
      const [files, sequence] = [started(root, { model }), new Sequence()];
      await ask(files, sequence, text(seed, 400), { promptCacheBytes });
      await files.saveAll(always);
    };
    await write("weights-1", 1, 3 * bytes);
    await write("weights-1", 2, 3 * bytes);
    await write("weights-2", 3, 3 * bytes);
    for (const path of await states(root)) await utimes(path, old, old);
    // The first one is used.
    expect((await ask(started(root), new Sequence(), text(1, 500))).restored).toBe(400);
    await write("weights-2", 4, 2 * bytes);
    expect((await states(root)).length).toBe(2);
    expect((await ask(started(root), new Sequence(), text(1, 500))).restored).toBe(400);
    expect((await ask(started(root, { model: "weights-2" }), new Sequence(), text(4, 500))).restored).toBe(400);
    // One that is larger than all may be takes no other's place.
    const [files, sequence] = [started(root), new Sequence()];
    await ask(files, sequence, text(5, 1_300), { promptCacheBytes: 2 * bytes });
    await files.saveAll(always);
    expect((await states(root)).length).toBe(2);
  });
  it("is within a smaller limit after the next request, also if that isn't worth a file", async () => {
    const root = await makeHome();
    const [files, sequence] = [started(root), new Sequence()];
    for (const seed of [1, 2, 3]) {
      await ask(files, sequence, text(seed, 900));
      await files.saveAll(always);
    }
    expect(await states(root)).toHaveLength(3);
    await ask(files, sequence, text(3, 901), { promptCacheBytes: 8_000 });
    await files.saveAll(always);
    expect(await states(root)).toHaveLength(1);
  });
  it("that is slow delays no prompt that is read quickly, and no cancelled one", async () => {
    const root = await makeHome();
    const sequence = new Sequence();
    let [writes, end] = [0, () => {}];
    sequence.onSave = () => new Promise((resolve) => ((writes += 1), (end = resolve)));
    const quick = started(root, { msPerThousand: 100 });
    await ask(quick, sequence, file);
    await ask(quick, sequence, text(50, 800));
    expect(writes).toBe(0);
    const [files, cancelled] = [started(root), new AbortController()];
    await ask(files, sequence, file);
    const asked = ask(files, sequence, text(50, 800), { signal: cancelled.signal });
    await vi.waitUntil(() => writes === 1);
    cancelled.abort();
    await expect(asked).rejects.toThrow("cancelled");
    expect(sequence.tokens).toEqual(file);
    // The next one must wait: what is written may not change.
    const next = ask(files, sequence, text(60, 800));
    end();
    await next;
    expect((await ask(started(root), new Sequence(), question(4))).restored).toBe(900);
  });
  it("that failed slowly, or was too slow to read from, isn't tried again where reading is quicker", async () => {
    const root = await makeHome();
    const [files, sequence] = [started(root), new Sequence()];
    await ask(files, sequence, file);
    await files.saveAll(always);
    const [slow, failing] = [started(root, { msPerThousand: 200 }), new Sequence()];
    let [tries, passes] = [0, 0];
    failing.onSave = () => wait(60).then(() => Promise.reject(new Error(`ENOSPC ${(tries += 1)}`)));
    const signal = new AbortController().signal;
    const pause = { pausedMs: 0, pass: () => ((passes += 1), wait(100)) } as never;
    for (const seed of [11, 12, 13]) {
      const use = { pause, signal, contextTokens: window, progressed: () => undefined };
      expect(await slow.prepare(new Sequence() as never, file, use)).toBe(0);
      await ask(slow, failing, text(seed, 900));
      await slow.saveAll(always);
    }
    expect([tries, passes]).toEqual([1, 1]);
  });
  it("loses what a killed process had begun to write", async () => {
    const root = await makeHome();
    const folder = join(root, "weights-1");
    await mkdir(folder);
    const [left, fresh] = [join(folder, "99-1.part"), join(folder, "98-1.part")];
    for (const path of [left, fresh]) await writeFile(path, "half");
    const old = new Date(Date.now() - 120_000);
    await utimes(left, old, old);
    const [files, sequence] = [started(root), new Sequence()];
    await ask(files, sequence, question(2));
    await files.saveAll(always);
    // Another process may be writing the other one.
    expect((await readdir(folder)).filter((name) => name.endsWith(".part"))).toEqual(["98-1.part"]);
  });
});
