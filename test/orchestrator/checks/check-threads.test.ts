import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Cancelled, InvalidRequest } from "../../../src/orchestrator/api/errors.ts";
import type { JsonSchema } from "../../../src/orchestrator/api/types.ts";
import { CheckThreads } from "../../../src/orchestrator/checks/check-threads.ts";
import type { CheckWork } from "../../../src/orchestrator/checks/check-worker.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

/** Takes years on such an answer. */
const evil: JsonSchema = { type: "string", pattern: "^(a+)+$" };
const evilText = JSON.stringify(`${"a".repeat(50)}!`);
const port: JsonSchema = { type: "object", properties: { port: { type: "string", pattern: "^\\d+$" } } };

function answering(text: string, options: Parameters<typeof createTestOrchestrator>[1] = {}) {
  const engine = createFakeEngine("ollama", [fakeModel("llama3.2:3b", gigabyte)]);
  engine.answer = () => Promise.resolve({ text });
  return { engine, ...createTestOrchestrator([engine], options) };
}

/** The part of the time of `work` that the event loop was held for 400 ms or more: a busy machine holds it, too, at times. */
async function heldPart(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  let [last, heldMs] = [started, 0];
  const beat = (): void => {
    const now = performance.now();
    if (now - last >= 400) heldMs += now - last;
    last = now;
  };
  const timer = setInterval(beat, 5);
  await work();
  beat();
  clearInterval(timer);
  return heldMs / (last - started);
}

describe("a check that runs out of time", () => {
  it("does not hold the event loop, nor the checks of another caller: 12 patterns at once", async () => {
    const { engine, generate, caller } = answering(evilText);
    let ended = 0;
    let endedBefore: number | undefined;
    const held = await heldPart(async () => {
      const heavy = Array.from({ length: 12 }, () => generate({ format: evil }).then(() => (ended += 1)));
      engine.answer = (request) =>
        Promise.resolve({
          text: JSON.stringify(request.format) === JSON.stringify(port) ? '{"port": "80"}' : evilText,
        });
      await generate({ format: port }, caller({ id: "caller-2" }));
      endedBefore = ended;
      await Promise.all(heavy);
    });
    expect(held, "each held it for 500 ms").toBeLessThan(0.5);
    expect(endedBefore, "callers take turns").toBeLessThan(9);
  });

  it("keeps the text, without its fence, and says so", async () => {
    const { generate } = answering(`\`\`\`json\n${evilText}\n\`\`\``);
    expect(await generate({ format: evil })).toMatchObject({
      text: evilText,
      notes: ["the answer was not checked against the JSON schema: it takes longer than 500 ms"],
    });
  });

  it("of alternatives that branch keeps the text, too", async () => {
    const self = { $ref: "#/$defs/a" };
    const branching = { properties: { b: self } };
    const a = { type: "object", anyOf: [branching, branching, branching, branching] };
    const text = `${'{"b":'.repeat(100)}1${"}".repeat(100)}`;
    const result = await answering(text).generate({ format: { $defs: { a }, ...self } });
    expect(result).toMatchObject({
      text,
      notes: [expect.stringContaining("not checked against the JSON schema") as string],
    });
  });

  it("before an answer is generated refuses the schema, as before", async () => {
    const { engine, generate } = answering("{}");
    const format = { type: "string", pattern: "^(?:a?|b?){40}(?=c)" };
    await expect(generate({ format })).rejects.toThrow(InvalidRequest);
    expect(engine.calls.filter((call) => call.startsWith("generate"))).toEqual([]);
  });
});

describe("checks in a thread find what they found before", () => {
  it("a mismatch is corrected, and references that never end are refused", async () => {
    const { generate } = answering('{"port": "many"}');
    await expect(generate({ format: port })).rejects.toThrow("String does not match pattern");
    await expect(generate({ format: { anyOf: [{ $ref: "#" }, { type: "string" }] } })).rejects.toThrow(
      "its references have no end",
    );
  });
});

describe("a thread", () => {
  let folder: string;
  let ends: AbortController;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "ollm-checks-"));
    ends = new AbortController();
  });
  afterEach(async () => {
    ends.abort();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  });

  const signal = new AbortController().signal;
  const asking = { caller: "caller-1", signal };
  /** A thread that does what `body` says with each piece of `work`. */
  async function threads(body: string): Promise<CheckThreads> {
    const entry = join(folder, "worker.mjs");
    const source = `import { parentPort } from "node:worker_threads";
      const done = (found) => parentPort.postMessage({ state: "done", found });
      parentPort.on("message", (work) => { ${body} });
      parentPort.postMessage({ state: "ready" });`;
    await writeFile(entry, source);
    return new CheckThreads(entry, ends.signal);
  }
  const work = (facts: object): CheckWork => ({ kind: "quotes", ...facts }) as CheckWork;

  it("ends in the middle of its work when the request is aborted", async () => {
    const checks = await threads("if (work.turns) for (;;) Atomics.add(work.turns, 0, 1); done(1)");
    const turns = new Int32Array(new SharedArrayBuffer(4));
    const abort = new AbortController();
    const running = checks.run(work({ turns }), { caller: "caller-1", signal: abort.signal });
    const waiting = checks.run(work({ turns }), { caller: "caller-1", signal: abort.signal });
    await expect.poll(() => Atomics.load(turns, 0)).toBeGreaterThan(0);
    abort.abort();
    await expect(running).rejects.toThrow(Cancelled);
    await expect(waiting).rejects.toThrow(Cancelled);
    let before = -1;
    const hasStopped = (): boolean => before === (before = Atomics.load(turns, 0));
    await expect.poll(hasStopped).toBe(true);
    expect(await checks.run(work({}), asking), "the next one has a new thread").toEqual({ found: 1 });
  });

  it("that dies ends its own check only", async () => {
    const checks = await threads("if (work.dies) process.exit(1); done(work.value)");
    const [died, next] = await Promise.all([
      checks.run(work({ dies: true }), asking),
      checks.run(work({ value: 7 }), asking),
    ]);
    expect(died).toEqual({ unfinished: "its thread ended", isOwnFault: false, sofar: undefined });
    expect(next).toEqual({ found: 7 });
  });

  it("is used again, and a caller has one at a time", async () => {
    const checks = await threads("globalThis.count = (globalThis.count ?? 0) + 1; done(globalThis.count)");
    const found = await Promise.all([1, 2, 3].map(() => checks.run(work({}), asking)));
    expect(found).toEqual([{ found: 1 }, { found: 2 }, { found: 3 }]);
  });

  it("is given by turns: one check of a third caller comes before the second ones of two busy callers", async () => {
    const checks = await threads("for (const end = Date.now() + 20; Date.now() < end;); done(1)");
    const order: string[] = [];
    const all = ["a", "a", "a", "b", "b", "b", "c"].map((caller) =>
      checks.run(work({}), { caller, signal }).then(() => order.push(caller)),
    );
    await Promise.all(all);
    expect(order.indexOf("c")).toBeLessThan(4);
  });

  it.each([
    ["fails to start", () => join(folder, "absent.mjs")],
    // As where no more threads can be created.
    ["can't be created", () => "not-a-path.mjs"],
  ])("that %s leaves the text unchecked, and the request with it", async (_what, entry) => {
    const { generate } = answering('{"port": "80"}', { checkWorker: entry() });
    const { text, notes } = await generate({ format: port });
    expect(text).toBe('{"port": "80"}');
    expect(notes).toEqual([expect.stringMatching(/^the answer was not checked against the JSON schema: its thread/)]);
  });

  it("that takes too long for quotes leaves the answer as it is, asks no other model, and says so", async () => {
    const entry = join(folder, "slow.mjs");
    await writeFile(
      entry,
      `import { parentPort } from "node:worker_threads";
      parentPort.on("message", () => parentPort.postMessage({ state: "failed", found: "it takes longer than 5 seconds" }));
      parentPort.postMessage({ state: "ready" });`,
    );
    const { engine, generate } = answering("The port is 80.", { checkWorker: entry });
    const files = [{ path: "a.md", text: "the port is 80" }];
    const { text, check, route } = await generate({ check: "quotes", files, prompt: "Which port?" });
    expect({ text, attempts: route.attempts.length }).toEqual({ text: "The port is 80.", attempts: 1 });
    expect(check).toMatchObject({
      statements: [],
      problem: "the statements were not looked for in the files: it takes longer than 5 seconds",
    });
    expect(engine.calls.filter((call) => call.startsWith("generate"))).toHaveLength(1);
  });
});

it("a judge that could not be loaded is loaded again by the next request", async () => {
  let isBroken = true;
  const { generate } = answering('{"port": "80"}', {
    get checkWorker() {
      if (isBroken) throw new Error("no such file");
      return "dist/check-worker.mjs";
    },
  });
  await expect(generate({ format: port })).rejects.toThrow("no such file");
  isBroken = false;
  expect((await generate({ format: port })).text).toBe('{"port": "80"}');
});

it("the built thread does what the program expects of it", async () => {
  const ends = new AbortController();
  const checks = new CheckThreads(resolve("dist/check-worker.mjs"), ends.signal);
  const asking = { caller: "caller-1", signal: ends.signal };
  const answer = { text: "1", finishReason: "stop" } as const;
  expect(await checks.run({ kind: "validate", format: { type: "integer" }, answer }, asking)).toEqual({
    found: { text: "1" },
  });
  ends.abort();
});
