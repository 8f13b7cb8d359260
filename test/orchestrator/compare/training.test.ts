import { describe, expect, it } from "vitest";
import type { TrainingRequest } from "../../../src/orchestrator/api/facade-compare.ts";
import type { GenerateRequest } from "../../../src/orchestrator/api/facade.ts";
import { applyTraining } from "../../../src/orchestrator/compare/training.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createMemoryDocumentFiles } from "../../support/memory-document-files.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { coder, compare, small } from "./fixture.ts";

const elsewhere = fakeModel("far:70b", gigabyte);
/** Looks like a token, and is none. */
const token = `ghp_${"a1B2".repeat(9)}`;

function setUp(training: object = { tasks: ["code"] }, texts = new Map<string, string>()) {
  let nowMs = Date.parse("2026-11-25T10:00:00Z");
  const engine = createFakeEngine("ollama", [small, { ...coder, capabilities: ["completion", "vision"] }]);
  const remote = createFakeEngine("box", [elsewhere], { trust: "remote", memoryDomain: "box" });
  engine.answer = ({ messages }) => Promise.resolve({ text: `To ${messages.at(-1)?.content ?? ""}` });
  const harness = createTestOrchestrator([engine, remote], {
    now: () => nowMs,
    steady: () => performance.now(),
    documentFiles: createMemoryDocumentFiles(texts),
    settings: { training, privacy: "allow_remote" },
  });
  const { comparisons } = harness.orchestrator;
  const caller = harness.caller();
  return {
    ...harness,
    engine,
    texts,
    comparisons,
    pass: (ms: number) => void (nowMs += ms),
    ask: (prompt: string, more: Partial<GenerateRequest> = {}) =>
      harness.generate({ prompt, task: "code", model: coder.name, ...more }),
    rate: (isGood = true, answerId?: string) =>
      comparisons.rate(caller, {
        task: "code",
        model: coder.name,
        isGood,
        ...(answerId !== undefined && { answerId }),
      }),
    async exported(more: Partial<TrainingRequest> = {}) {
      const found = await comparisons.trainingMaterial(caller, { format: "openai", ...more });
      const lines = found.text.split("\n").slice(0, -1);
      return { ...found, lines: lines.map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>) };
    },
    forget: () => comparisons.forgetTraining(caller),
  };
}

describe("the recording of answers", () => {
  it("is off unless the user turns it on, then for the named tasks alone", async () => {
    const off = setUp({});
    await off.ask("Sort a list");
    await off.rate();
    expect([(await off.exported()).count, [...off.texts.keys()]]).toEqual([
      0,
      expect.not.arrayContaining(["training.journal"]),
    ]);

    const on = setUp();
    await on.ask("Sort a list");
    await on.ask("A poem", { task: "creative" });
    await on.rate();
    expect((await on.exported()).lines).toEqual([
      {
        messages: [
          { role: "user", content: "Sort a list" },
          { role: "assistant", content: "To Sort a list" },
        ],
      },
    ]);
    expect(on.texts.get("training.journal")).not.toContain("A poem");
  });

  it("has what was sent: system prompt, earlier turns, files and question", async () => {
    const { ask, rate, exported } = setUp();
    const { continueId = "" } = await ask("First", { system: "Be brief.", continueId: "new" });
    await ask("Second", { continueId, files: [{ path: "a.ts", text: "let a;" }] });
    await rate();
    const { lines } = await exported({ format: "sharegpt" });
    expect(lines).toEqual([
      {
        conversations: [
          { from: "system", value: "Be brief." },
          { from: "human", value: "First" },
          { from: "gpt", value: "To First" },
          { from: "human", value: expect.stringMatching(/let a;[^]*Second/) },
          { from: "gpt", value: expect.stringMatching(/^To /) },
        ],
      },
    ]);
  });

  it("leaves out other machines, comparisons, evals, images, long texts and answers that were cut", async () => {
    const on = setUp();
    await on.ask("Far away", { model: elsewhere.name });
    await on.ask("A picture", { images: ["iVBORw0KGgo="] });
    on.engine.answer = () => Promise.resolve({ text: "Half an", finishReason: "length" });
    await on.ask("Cut");
    on.engine.answer = () => Promise.resolve({ text: "Yes." });
    expect(await on.ask("word ".repeat(14_000))).toMatchObject({ finishReason: "stop" });
    await compare(on, { prompt: "Write a function that compares", models: [small.name, coder.name] });
    const cases = [{ name: "a", prompt: "Evaluated", task: "code", expects: [] }] as const;
    const evaluated = await on.comparisons.evaluate(on.caller(), { name: "a", cases, models: [coder.name] });
    await evaluated.follow(on.caller().signal);
    await on.exported();
    expect(on.texts.get("training.journal")).toBeUndefined();
  });

  it("marks the newest answer of that model and task, of the last hour; a second rating replaces the first", async () => {
    const { ask, rate, exported, pass, comparisons, caller } = setUp({ tasks: ["code", "debugging"] });
    await ask("Old");
    // It is recorded beside the next work, and first of all the code for it is loaded.
    await exported();
    pass(2 * 3_600_000);
    const forced = { task: "code", model: coder.name, isGood: true, isForced: true } as const;
    await comparisons.rate(caller(), forced);
    expect((await exported()).count).toBe(0);
    await ask("New");
    await ask("Other model", { model: small.name });
    await ask("Other task", { task: "debugging" });
    await rate(true, "shell-1");
    expect(JSON.stringify((await exported()).lines)).toMatch(/"New".*"To New"/);
    expect((await exported()).count).toBe(1);
    await rate(false, "shell-1");
    expect((await exported()).count).toBe(0);
  });

  it("keeps the newest 2,000 answers, and of large ones fewer", () => {
    const kept = { entries: [] };
    const entry = (id: number, size: number) => ({
      id: String(id),
      at: "2026-11-25T10:00:00.000Z",
      task: "code" as const,
      model: "m",
      messages: [{ role: "user" as const, content: "q".repeat(size) }],
      answer: "a",
    });
    for (let id = 0; id < 2_005; id += 1) applyTraining(kept, { type: "recorded", entry: entry(id, 1) });
    expect([kept.entries.length, kept.entries[0]]).toMatchObject([2_000, { id: "5" }]);
    for (let id = 0; id < 300; id += 1) applyTraining(kept, { type: "recorded", entry: entry(id, 60_000) });
    expect(kept.entries.length).toBeLessThan(270);
  });

  it("survives a restart, and is deleted from the disk on request", async () => {
    const first = setUp();
    await first.ask("Sort a list");
    await first.rate();
    await first.orchestrator.close();
    const second = setUp(undefined, first.texts);
    expect((await second.exported()).count).toBe(1);
    await second.ask("Another");
    expect(await second.forget()).toBe(2);
    expect([...second.texts.keys()].filter((name) => name.startsWith("training"))).toEqual([]);
    await second.ask("After");
    await second.rate();
    expect(JSON.stringify((await second.exported()).lines)).toMatch(/^.*After.*$/);
    expect((await second.exported()).count).toBe(1);
  });
});

describe("the material for training", () => {
  it("has answers whose check passed, unless they are rated bad, without the marks of the check", async () => {
    const { ask, rate, exported, engine } = setUp();
    const files = [{ path: "pump.md", text: "The pump P7 was replaced on Monday by Ann." }];
    engine.answer = () =>
      Promise.resolve({
        text: 'The pump P7 was replaced on Monday by Ann.\n"The pump P7 was replaced on Monday by Ann."',
      });
    const { check } = await ask("What was replaced?", { files, check: "quotes" });
    expect(check?.problem).toBeUndefined();
    const { lines, counts } = await exported();
    expect(counts).toEqual({ task: { code: 1 }, source: { verified: 1 }, model: { [coder.name]: 1 } });
    expect(JSON.stringify(lines)).toContain("replaced on Monday by Ann");
    expect(JSON.stringify(lines)).not.toMatch(/pump\.md:\d/);
    expect((await exported({ sources: ["rated"] })).count).toBe(0);
    await rate();
    expect((await exported({ sources: ["verified"] })).counts.source).toEqual({ verified: 1 });
    expect((await exported()).counts.source).toEqual({ rated: 1 });
    await rate(false, "x");
    expect((await exported()).count).toBe(0);
    engine.answer = () => Promise.resolve({ text: "The pump P8 exploded in 1999." });
    const failed = await ask("And then?", { files, check: "quotes" });
    expect(failed.check?.problem).toBeDefined();
    expect((await exported()).count).toBe(0);
  });

  it("has picked answers without any recording, but of files, of other machines and of half an answer", async () => {
    const on = setUp({});
    const one = await compare(on, { prompt: "Write a function that adds", models: [small.name, coder.name] });
    const files = [{ path: "a.ts", text: "let a;" }];
    const two = await compare(on, { prompt: "Explain this code", models: [small.name, coder.name], files });
    const three = await compare(on, { prompt: "Write a function that waits", models: [small.name, elsewhere.name] });
    await compare(on, { prompt: "Not picked", models: [small.name, coder.name] });
    await on.comparisons.pick(on.caller(), one.id, coder.name);
    await on.comparisons.pick(on.caller(), two.id, coder.name);
    await on.comparisons.pick(on.caller(), three.id, elsewhere.name);
    const { lines, refused, counts } = await on.exported();
    expect(lines).toEqual([
      {
        messages: [
          { role: "user", content: "Write a function that adds" },
          { role: "assistant", content: "To Write a function that adds" },
        ],
      },
    ]);
    expect(counts.source).toEqual({ picked: 1 });
    expect(refused.map(({ reason }) => reason).toSorted()).toEqual([
      "it was answered elsewhere, and the provider's terms may forbid training",
      "its files are not kept",
    ]);
    expect((await on.exported({ tasks: ["creative"] })).refused).toEqual([]);
  });

  it("refuses what has a secret, with its kind and place, and what repeats another", async () => {
    const on = setUp();
    await on.ask(`Why is this refused?\n\nexport GITHUB_TOKEN=${token}`);
    await on.rate();
    for (let count = 0; count < 2; count += 1) {
      await on.ask("Twice");
      await on.rate();
    }
    on.engine.answer = () => Promise.resolve({ text: "Use\npassword: hunter2-4711" });
    await on.ask("How do I log in?");
    await on.rate();
    const { lines, refused, dates, text } = await on.exported();
    expect(lines).toHaveLength(1);
    expect(refused).toEqual([
      {
        place: `${coder.name}, code, 2026-11-25 10:00, line 3 of the question`,
        reason: "it looks like it has a GitHub token (ghp_…)",
      },
      { place: `${coder.name}, code, 2026-11-25 10:00`, reason: "it repeats another" },
      {
        place: `${coder.name}, code, 2026-11-25 10:00, line 2 of the answer`,
        reason: expect.stringMatching(/it looks like it has a password/),
      },
    ]);
    for (const shown of [text, JSON.stringify(refused)]) {
      expect(shown).not.toContain(token);
      expect(shown).not.toContain("hunter2");
    }
    expect(dates).toEqual(["2026-11-25"]);
  });
});
