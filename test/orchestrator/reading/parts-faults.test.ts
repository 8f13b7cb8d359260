import { describe, expect, it } from "vitest";
import { Cancelled, GenerationFailed, PromptTooLong } from "../../../src/orchestrator/api/errors.ts";
import { estimateTokens } from "../../../src/orchestrator/routing/tokens.ts";
import { createGate, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createMemoryJobFiles } from "../../support/memory-job-files.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import {
  createReadingEngine,
  isReading,
  narrowModel,
  portsFile,
  portsIn,
  portsQuestion as prompt,
  promptOf,
} from "../../support/reading-engine.ts";

const files = [portsFile("guide.md", 20)];
const allPorts = Array.from({ length: 20 }, (_, index) => String(9000 + index));
/** One part at a time. */
const inOrder = { more: { kind: "llama-cpp" } } as const;
const crash = () => Promise.reject(new GenerationFailed("it crashed"));
const hasPort = (port: number) => (request: Parameters<typeof promptOf>[0]) =>
  isReading(request) && promptOf(request).includes(`Port ${port}.`);

describe("a part that fails", () => {
  it("is tried once more", async () => {
    let failures = 0;
    const { engine } = createReadingEngine({
      ...inOrder,
      before: (request) => (hasPort(9004)(request) && failures++ === 0 ? crash() : undefined),
    });
    const answer = await createTestOrchestrator([engine]).generate({ prompt, files });
    expect(portsIn(answer.text)).toEqual(allPorts);
    expect(answer.parts?.missing).toBeUndefined();
    expect(failures).toBe(2);
  });

  it("twice is named as missing with the reason, and the answer is that of the others", async () => {
    const { engine } = createReadingEngine({
      ...inOrder,
      before: (request) => (hasPort(9004)(request) ? crash() : undefined),
    });
    const answer = await createTestOrchestrator([engine]).generate({ prompt, files });
    expect(answer.parts?.missing).toEqual([{ part: "guide.md: Section 4", reason: "it crashed" }]);
    expect(portsIn(answer.text)).toEqual(allPorts.filter((port) => !["9003", "9004", "9005"].includes(port)));
  });

  it("is read by the next model of the chain, which reads the others, too", async () => {
    const other = fakeModel("phi3:mini", 2 * gigabyte, { contextTokens: 2048 });
    const { engine, requests } = createReadingEngine({
      more: { kind: "llama-cpp" },
      models: [narrowModel, other],
      before: (request, reading) => (reading > 2 && request.model === narrowModel.name ? crash() : undefined),
    });
    const answer = await createTestOrchestrator([engine]).generate({ prompt, files });
    expect(portsIn(answer.text)).toEqual(allPorts);
    expect(answer.parts?.missing).toBeUndefined();
    const models = requests.map(({ model }) => model);
    expect(models.slice(0, 2)).toEqual([narrowModel.name, narrowModel.name]);
    expect(models.at(-1)).toBe(other.name);
    expect(models.filter((model) => model === narrowModel.name).length).toBeLessThan(6);
    expect(answer.route.attempts.length).toBeLessThan(6);
  });

  it("of a named model is read by no other model", async () => {
    const other = fakeModel("phi3:mini", 2 * gigabyte, { contextTokens: 2048 });
    const { engine, requests } = createReadingEngine({
      ...inOrder,
      models: [narrowModel, other],
      before: (request) => (hasPort(9004)(request) ? crash() : undefined),
    });
    const answer = await createTestOrchestrator([engine]).generate({ prompt, files, model: narrowModel.name });
    expect(answer.parts?.missing).toHaveLength(1);
    expect(requests.some(({ model }) => model === other.name)).toBe(false);
  });

  it("with more others than were read fails the call with the first reason, before the rest is tried", async () => {
    let count = 0;
    const { engine, read } = createReadingEngine({
      ...inOrder,
      before: (request) =>
        isReading(request) ? Promise.reject(new GenerationFailed(`crash ${(count += 1)}`)) : undefined,
    });
    const failed = createTestOrchestrator([engine]).generate({ prompt, files });
    await expect(failed).rejects.toThrow(/^3 of \d parts could not be read, the first because crash 2$/);
    expect(read()).toHaveLength(6);
  });

  it("because the engine counts more tokens than its window is split again, not failed", async () => {
    const { engine } = createReadingEngine({
      ...inOrder,
      before: (request) =>
        hasPort(9004)(request) && estimateTokens(promptOf(request)) > 800
          ? Promise.reject(new PromptTooLong("too long", { promptTokens: 2100, contextTokens: 2048 }))
          : undefined,
    });
    const { orchestrator, caller, generate } = createTestOrchestrator([engine]);
    const planned = (await orchestrator.planGeneration(caller(), { prompt, files })).parts?.total ?? 0;
    const answer = await generate({ prompt, files });
    expect(portsIn(answer.text)).toEqual(allPorts);
    expect(answer.parts?.missing).toBeUndefined();
    expect(answer.parts?.total).toBeGreaterThan(planned);
  });

  it("because thinking used up its tokens is tried with more of them", async () => {
    const { engine, read } = createReadingEngine({
      ...inOrder,
      before: async (request) =>
        hasPort(9004)(request) && request.maxTokens <= 256 ? { text: "", finishReason: "length" } : undefined,
    });
    const answer = await createTestOrchestrator([engine]).generate({ prompt, files });
    expect(portsIn(answer.text)).toEqual(allPorts);
    expect(new Set(read().map(({ maxTokens }) => maxTokens)).size).toBe(2);
  });
});

describe("an answer that fails after the parts were read", () => {
  const failing = () => createReadingEngine({ before: (request) => (isReading(request) ? undefined : crash()) });

  it("is replaced by the notes, and a note says so", async () => {
    const answer = await createTestOrchestrator([failing().engine]).generate({ prompt, files });
    expect(portsIn(answer.text)).toEqual(allPorts);
    expect(answer.text).toMatch(/^## guide\.md: Section 1\n9000/);
    expect(answer.notes).toContain("these are the notes on the parts: it crashed");
  });

  it("fails the call if it has to have a form", async () => {
    const failed = createTestOrchestrator([failing().engine]).generate({ prompt, files, format: "json" });
    await expect(failed).rejects.toThrow("it crashed");
  });
});

it("a cancel in the middle ends all requests at once, and frees the engine for others", async () => {
  const gate = createGate();
  const aborted: boolean[] = [];
  const { engine, read } = createReadingEngine({
    before: async (request, reading, signal) => {
      if (!isReading(request) || reading < 3) return undefined;
      await gate.pass(signal).finally(() => aborted.push(signal.aborted));
      return undefined;
    },
  });
  const { generate, caller, orchestrator } = createTestOrchestrator([engine]);
  const call = new AbortController();
  const work = generate({ prompt, files }, caller({ signal: call.signal }));
  await gate.entered;
  call.abort("cancelled");
  await expect(work).rejects.toBeInstanceOf(Cancelled);
  const asked = read().length;
  expect((await generate({ prompt: "Is 9999 a port?" })).text).toBe("9999");
  expect(aborted.length).toBeGreaterThan(0);
  expect(aborted).toEqual(aborted.map(() => true));
  expect(read()).toHaveLength(asked);
  const { queue } = await orchestrator.systemStatus(caller());
  expect(queue.filter(({ running, waiting }) => running + waiting > 0)).toEqual([]);
});

it("a budget that ends in the middle keeps the parts that were read: the rest is missing, and no request is sent", async () => {
  const prices = { inputPerMillion: 10, outputPerMillion: 10, currency: "USD", date: "2026-11-23" };
  const { engine, read } = createReadingEngine({
    id: "paid",
    models: [{ ...narrowModel, trust: "remote" }],
    more: { kind: "openai", trust: "remote", pricesOf: () => prices, monthlyBudget: 0.06, parallelAnswers: 1 },
    before: async () => ({ promptTokens: 1000 }),
  });
  const { generate } = createTestOrchestrator([engine], { settings: { privacy: "allow_remote" }, now: Date.now });
  const answer = await generate({ prompt, files });
  const { total = 0, missing = [] } = answer.parts ?? {};
  expect(read().length).toBeGreaterThan(0);
  expect(missing).toHaveLength(total - read().length);
  expect(answer.parts?.share).toBeCloseTo(read().length / total, 1);
  expect(missing.length).toBeGreaterThan(0);
  for (const { reason } of missing) expect(reason).toMatch(/budget/);
  expect(portsIn(answer.text).slice(0, 3)).toEqual(allPorts.slice(0, 3));
  expect(answer.cost?.amount).toBeLessThanOrEqual(0.06);
  expect(answer.cost?.amount).toBeCloseTo(read().length * 0.01, 2);
});

it("a budget that ends while notes are joined keeps the notes", async () => {
  const words = "seven words that fill the notes here ".repeat(10);
  const prices = { inputPerMillion: 10, outputPerMillion: 10, currency: "USD", date: "2026-11-23" };
  const { engine, requests, read } = createReadingEngine({
    id: "paid",
    models: [{ ...narrowModel, contextTokens: 1024, trust: "remote" }],
    more: { kind: "openai", trust: "remote", pricesOf: () => prices, monthlyBudget: 0.07, parallelAnswers: 1 },
    before: async (request) =>
      isReading(request)
        ? { text: `${portsIn(promptOf(request)).join(" ")} ${words}`, promptTokens: 150, completionTokens: 90 }
        : { promptTokens: 4000, completionTokens: 90 },
  });
  const { generate } = createTestOrchestrator([engine], { settings: { privacy: "allow_remote" }, now: Date.now });
  const answer = await generate({ prompt, files: [portsFile("guide.md", 20)] });
  expect(answer.parts?.missing).toBeUndefined();
  expect(requests.length).toBeGreaterThan(read().length);
  expect(answer.notes.join()).toMatch(/these are the notes on the parts: .*budget/);
  expect(new Set(portsIn(answer.text))).toEqual(new Set(allPorts));
});

it("the daemon's end fails the job, and the next daemon names the parts that were read", async () => {
  const jobFiles = createMemoryJobFiles();
  const gate = createGate();
  const { engine } = createReadingEngine({
    ...inOrder,
    before: async (_request, reading, signal) => {
      if (reading === 3) await gate.pass(signal);
      return undefined;
    },
  });
  const first = createTestOrchestrator([engine], { jobFiles, now: Date.now });
  const operation = await first.orchestrator.generate(first.caller(), { prompt, files });
  const outcome = operation.follow(first.caller().signal).then(() => ({}));
  first.orchestrator.jobs.adopt(first.caller(), {
    tool: "route_and_generate",
    operation,
    outcome,
    errorText: String,
  });
  await gate.entered;
  await expect.poll(() => [...jobFiles.texts.values()].join()).toContain("Section 4");

  // The first daemon never ends its record: it was killed.
  const killed = createMemoryJobFiles();
  for (const [id, text] of jobFiles.texts) killed.texts.set(id, text);
  const second = createTestOrchestrator([createReadingEngine().engine], { jobFiles: killed, now: Date.now });
  await second.orchestrator.resume({
    ofPull: () => ({}),
    ofBatch: () => ({}),
    ofError: (error) => (error as Error).message,
  });
  const job = await second.orchestrator.jobs.get(second.caller(), operation.id);
  expect(job.state).toBe("failed");
  expect(job.error).toMatch(
    /^the daemon exited while the job was running; 2 of \d parts were read: guide\.md: Section 1, guide\.md: Section 4$/,
  );
  operation.cancel();
  await expect(outcome).rejects.toBeInstanceOf(Cancelled);
});
