import { expect, it } from "vitest";
import {
  EngineUnreachable,
  GenerationFailed,
  InvalidRequest,
  UnknownModel,
} from "../../../src/orchestrator/api/errors.ts";
import type { Comparisons, Eval, EvalCase } from "../../../src/orchestrator/api/facade-compare.ts";
import { type FakeEngine, createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createMemoryDocumentFiles } from "../../support/memory-document-files.ts";
import { type TestOrchestrator, createTestOrchestrator } from "../../support/orchestrator.ts";
import { coder, failureOf, large, small } from "./fixture.ts";

type Request = Parameters<Comparisons["evaluate"]>[1];

/** Sums, which one model of two can do. */
const cases = Array.from({ length: 8 }, (_, index): EvalCase => ({
  name: `sum ${index}`,
  prompt: `What is ${index} + 1?`,
  task: "reasoning",
  expects: [{ type: "equals", value: index + 1 }],
}));

/** The fake engine's answers: `coder` adds, `small` is wrong. */
const adds: FakeEngine["answer"] = ({ model, messages }) => {
  const [, first = "0"] = /What is (\d+)/.exec(messages.at(-1)?.content ?? "") ?? [];
  return Promise.resolve({ text: model === coder.name ? `${Number(first) + 1}.` : "I don't know." });
};

async function evaluate(
  harness: TestOrchestrator,
  request: Partial<Request> = {},
  caller = harness.caller(),
): Promise<Eval> {
  const operation = await harness.orchestrator.comparisons.evaluate(caller, {
    name: "sums",
    cases,
    models: [small.name, coder.name],
    ...request,
  });
  return operation.follow(caller.signal);
}

const asked = ({ calls }: FakeEngine): readonly string[] => calls.filter((call) => call.startsWith("generate"));

it("asks each model all cases before the next one is loaded, and says which is better", async () => {
  const engine = createFakeEngine("ollama", [small, coder]);
  engine.answer = adds;
  const seen: unknown[] = [];
  const answer = engine.answer;
  engine.answer = (request, ...rest) => {
    seen.push(request.sampling);
    return answer(request, ...rest);
  };
  const harness = createTestOrchestrator([engine]);
  await harness.generate({ model: coder.name });
  engine.calls.length = 0;
  seen.length = 0;
  const found = await evaluate(harness);
  expect(asked(engine).map((call) => call.split(" ")[1])).toEqual([
    ...cases.map(() => coder.name),
    ...cases.map(() => small.name),
  ]);
  expect(seen[0]).toMatchObject({ temperature: 0, seed: 1 });
  expect(found).toMatchObject({ cases: 8, answered: 16, isRunning: false, decidedBy: { values: 8 }, notes: [] });
  expect(found.endedAt).toBeDefined();
  expect(found.rows).toMatchObject([
    { task: "reasoning", model: small.name, right: 0, scored: 8, quality: { share: 0, low: 0 } },
    {
      task: "reasoning",
      model: coder.name,
      right: 8,
      scored: 8,
      quality: { share: 1, high: 1 },
      memoryBytes: coder.sizeBytes,
    },
  ]);
  expect(found.verdicts).toEqual([
    {
      profile: "reasoning",
      winner: coder.name,
      text: `${coder.name} is better than ${small.name}: 8 cases that only it got right, 0 that only ${small.name} did (p = 0.008)`,
    },
  ]);
  expect(found.misses[0]).toEqual({ case: "sum 0", model: small.name, why: "is not 1", text: "I don't know." });
  expect(await harness.orchestrator.comparisons.evals(harness.caller())).toMatchObject([{ id: found.id, rows: [] }]);
});

it("sees no difference where the cases carry none", async () => {
  const engine = createFakeEngine("ollama", [small, coder]);
  engine.answer = adds;
  const { verdicts } = await evaluate(createTestOrchestrator([engine]), { cases: cases.slice(0, 4) });
  expect(verdicts).toEqual([
    { profile: "reasoning", text: `no difference can be seen between ${coder.name} and ${small.name} with 4 cases` },
  ]);
});

it("asks nothing again after a daemon that was killed", async () => {
  const texts = new Map<string, string>();
  const first = createFakeEngine("ollama", [small, coder]);
  const killed = new Map<string, string>();
  first.answer = (request, ...rest) => {
    // What is on disk when the sixth request arrives.
    if (asked(first).length === 6) for (const [name, text] of texts) killed.set(name, text);
    return adds(request, ...rest);
  };
  const whole = await evaluate(createTestOrchestrator([first], { documentFiles: createMemoryDocumentFiles(texts) }));
  const second = createFakeEngine("ollama", [small, coder]);
  second.answer = adds;
  const harness = createTestOrchestrator([second], { documentFiles: createMemoryDocumentFiles(killed) });
  expect(await harness.orchestrator.comparisons.evals(harness.caller())).toMatchObject([{ id: whole.id, answered: 5 }]);
  const found = await evaluate(harness);
  expect(found.id).toBe(whole.id);
  expect(asked(second)).toHaveLength(16 - 5);
  expect(found.rows.map(({ right, scored }) => [right, scored])).toEqual(
    whole.rows.map(({ right, scored }) => [right, scored]),
  );
  // It has ended: the same request is a new eval.
  expect((await evaluate(harness)).id).not.toBe(whole.id);
});

it("is one operation for two who ask the same at once, and is continued after a cancel", async () => {
  const engine = createFakeEngine("ollama", [small, coder]);
  const stop = new AbortController();
  engine.answer = (...given) => {
    if (asked(engine).length === 3) stop.abort("cancelled");
    return adds(...given);
  };
  const harness = createTestOrchestrator([engine]);
  const caller = harness.caller({ signal: stop.signal });
  expect(await failureOf(evaluate(harness, {}, caller))).toMatchObject({ name: "Cancelled" });
  await expect
    .poll(async () => (await harness.orchestrator.comparisons.evals(harness.caller()))[0]?.isRunning)
    .toBe(false);
  engine.answer = adds;
  const [one, two] = await Promise.all([evaluate(harness), evaluate(harness)]);
  expect(one).toEqual(two);
  expect(asked(engine).length).toBeLessThanOrEqual(17);
});

it("counts a case that a model fails on, and leaves a model that can't be asked", async () => {
  const broken = fakeModel("broken:1b", gigabyte);
  const engine = createFakeEngine("ollama", [small, coder, broken]);
  engine.answer = (request, ...rest) => {
    if (request.model === broken.name) return Promise.reject(new EngineUnreachable("the server is gone"));
    if (request.model === coder.name && asked(engine).length === 2)
      return Promise.reject(new GenerationFailed("it crashed"));
    return adds(request, ...rest);
  };
  const harness = createTestOrchestrator([engine]);
  await harness.generate({ model: coder.name }).catch(() => undefined);
  engine.calls.length = 0;
  const found = await evaluate(harness, { models: [coder.name, broken.name, small.name] });
  expect(found.rows).toMatchObject([
    { model: coder.name, right: 7, scored: 8, failed: 1 },
    { model: broken.name, scored: 0 },
    { model: small.name, scored: 8 },
  ]);
  expect(found.misses.find(({ model }) => model === coder.name)).toEqual({
    case: "sum 1",
    model: coder.name,
    why: "failed: it crashed",
  });
  expect(found).toMatchObject({ answered: 16 });
  expect(found.endedAt).toBeUndefined();
  expect(found.notes).toEqual([expect.stringMatching(/^broken:1b did not answer 8 cases: /)]);
});

it("refuses what can't be asked before anything is", async () => {
  const engine = createFakeEngine("ollama", [small]);
  const harness = createTestOrchestrator([engine]);
  expect(await failureOf(evaluate(harness, { models: [small.name, "nonesuch:1b"] }))).toBeInstanceOf(UnknownModel);
  expect(await failureOf(evaluate(harness, { cases: [] }))).toBeInstanceOf(InvalidRequest);
  expect(await failureOf(evaluate(harness, { models: [small.name, small.name] }))).toMatchObject({
    message: 'duplicate model "llama3.2:3b"',
  });
  expect(await failureOf(evaluate(harness, { models: [small.name], judge: small.name }))).toMatchObject({
    message: "no case has anything to judge",
  });
  expect(
    (await failureOf(evaluate(createTestOrchestrator([createFakeEngine("ollama", [])]), { models: "auto" }))).message,
  ).toContain("no model on this machine");
  expect(asked(engine)).toEqual([]);
});

it("has a criterion judged after all answers, by another model if there is one", async () => {
  const engine = createFakeEngine("ollama", [small, coder]);
  engine.answer = ({ model, format }) =>
    Promise.resolve({
      text:
        format === undefined
          ? `${model} says hello`
          : JSON.stringify({ reason: "It greets.", verdict: model === coder.name ? "yes" : "no" }),
    });
  const greet: EvalCase = { name: "greet", prompt: "Greet me.", expects: [{ type: "judge", value: "It greets." }] };
  const harness = createTestOrchestrator([engine]);
  const found = await evaluate(harness, { cases: [greet], models: [small.name] });
  expect(found).toMatchObject({
    judge: coder.name,
    answered: 1,
    decidedBy: { judge: 1 },
    rows: [{ right: 1, scored: 1 }],
  });
  expect(found.notes).toEqual([`${coder.name} is the judge: a model's opinion, not a measurement`]);
  const own = await evaluate(harness, { cases: [greet], models: [small.name], judge: small.name });
  expect(own.notes[0]).toContain("it judges its own answers, too");
  expect(own).toMatchObject({ rows: [{ right: 0, scored: 1 }], misses: [{ why: `${small.name}: It greets.` }] });
});

it("matches patterns and schemas in bounded time, and JSON by its values", async () => {
  const engine = createFakeEngine("ollama", [small]);
  engine.answer = ({ messages }) => Promise.resolve({ text: messages.at(-1)?.content ?? "" });
  const made = (prompt: string, expects: EvalCase["expects"]): EvalCase => ({ name: prompt, prompt, expects });
  const { misses, rows } = await evaluate(createTestOrchestrator([engine]), {
    models: [small.name],
    cases: [
      made("order 4711", [{ type: "regex", value: "\\b\\d{4}\\b" }]),
      made("no order", [{ type: "regex", value: "\\b\\d{4}\\b" }]),
      made("Paris, of course", [
        { type: "icontains", value: "paris" },
        { type: "contains", value: "Rome", isNot: true },
      ]),
      made('```json\n{"b": 1.0, "a": "X"}\n```', [{ type: "equals", value: { a: "x", b: 1 } }]),
      made('{"a": 1}', [{ type: "json", value: { type: "object", required: ["b"] } }]),
      made("1,000", [{ type: "equals", value: 1000, isNot: true }]),
    ],
  });
  expect(misses.map(({ case: name, why }) => `${name}: ${why}`)).toEqual([
    'no order: does not match "\\\\b\\\\d{4}\\\\b"',
    expect.stringMatching(/^\{"a": 1\}: answered JSON that does not match the schema/),
    "1,000: is 1000",
  ]);
  expect(rows.at(-1)).toMatchObject({ right: 3, scored: 6 });
});

const prices = { inputPerMillion: 0, outputPerMillion: 1_000_000, currency: "USD", date: "2026-11-01" };

/** A paid engine whose answers have three tokens, a dollar each. */
function paid() {
  const engine = createFakeEngine("cloud", [{ ...large, trust: "remote" }], {
    trust: "remote",
    pricesOf: () => prices,
  });
  engine.answer = () => Promise.resolve({ text: "1", completionTokens: 3 });
  return engine;
}

it("stops before its budget is passed, and is continued with a larger one", async () => {
  const cloud = paid();
  const here = createFakeEngine("ollama", [small]);
  here.answer = adds;
  const harness = createTestOrchestrator([here, cloud], { settings: { privacy: "allow_remote" } });
  const request = { models: [large.name, small.name], maxTokens: 4, budget: 8 };
  const found = await evaluate(harness, request);
  // 3 + 3 are spent, and the third may cost 4.
  expect(asked(cloud)).toHaveLength(2);
  expect(found.rows[0]).toMatchObject({ model: large.name, scored: 2, cost: { amount: 6, currency: "USD" } });
  expect(found.rows[1]).toMatchObject({ model: small.name, scored: 8 });
  expect(found.notes).toEqual([
    `${large.name} did not answer 6 cases: the next answer may cost 4 USD, and 6 USD of the budget of 8 USD are spent or reserved`,
  ]);
  expect(found.endedAt).toBeUndefined();
  const more = await evaluate(harness, { ...request, budget: 11 });
  expect(more).toMatchObject({ id: found.id, answered: 8 + 3 });
  expect(asked(cloud)).toHaveLength(3);
});

it("sends nothing off this machine unless a remote model is named and allowed", async () => {
  const cloud = paid();
  const here = createFakeEngine("ollama", [small]);
  here.answer = adds;
  const allowed = createTestOrchestrator([here, cloud], { settings: { privacy: "allow_remote" } });
  expect((await evaluate(allowed, { models: "auto" })).models).toEqual([small.name]);
  const locked = createTestOrchestrator([here, cloud]);
  expect(await failureOf(evaluate(locked, { models: [large.name] }))).toMatchObject({
    facts: { code: "privacy_locked" },
  });
  const judged = { cases: [{ name: "a", prompt: "a", expects: [{ type: "judge", value: "x" }] }] } as const;
  expect(
    (await failureOf(evaluate(allowed, { ...judged, models: [small.name], judge: large.name }))).message,
  ).toContain("every answer would be sent off this machine");
  expect(asked(cloud)).toEqual([]);
});

it("keeps the answers of an eval that is deleted no longer, and refuses to delete one that runs", async () => {
  const texts = new Map<string, string>();
  const engine = createFakeEngine("ollama", [small]);
  const harness = createTestOrchestrator([engine], { documentFiles: createMemoryDocumentFiles(texts) });
  const { comparisons } = harness.orchestrator;
  let refused: unknown;
  engine.answer = async (...given) => {
    const [running] = await comparisons.evals(harness.caller());
    refused ??= await failureOf(comparisons.removeEval(harness.caller(), running?.id ?? ""));
    return adds(...given);
  };
  const { id } = await evaluate(harness, { models: [small.name] });
  expect(refused).toMatchObject({ message: `${id} is running` });
  await comparisons.removeEval(harness.caller(), id);
  expect(await failureOf(comparisons.getEval(harness.caller(), id))).toMatchObject({
    message: `no eval ${id}; the newest 20 are kept`,
  });
  await harness.orchestrator.close();
  expect([...texts.values()].join("")).not.toContain("I don't know.");
});

it("keeps 20, and of those without an end, one of which may be running, more than the others", async () => {
  const engine = createFakeEngine("ollama", [small]);
  engine.answer = adds;
  const harness = createTestOrchestrator([engine], { documentFiles: createMemoryDocumentFiles(new Map()) });
  const { comparisons } = harness.orchestrator;
  const one = (name: string): Promise<Eval> =>
    evaluate(harness, { name, models: [small.name], cases: [{ name, prompt: name, expects: [] }] });
  const answer = engine.answer;
  engine.answer = () => Promise.reject(new EngineUnreachable("down"));
  await one("open");
  engine.answer = answer;
  for (let index = 0; index < 21; index += 1) await one(`done ${index}`);
  const names = (await comparisons.evals(harness.caller())).map(({ name }) => name);
  expect(names).toHaveLength(20);
  expect(names.slice(-2)).toEqual(["done 2", "open"]);
});

it("says of a wrong answer that it was cut", async () => {
  const engine = createFakeEngine("ollama", [small]);
  engine.answer = () => Promise.resolve({ text: "Well,", finishReason: "length" });
  const found = await evaluate(createTestOrchestrator([engine]), { models: [small.name], cases: cases.slice(0, 1) });
  expect(found.misses[0]?.why).toBe("is not 1; the answer was cut at its limit of tokens");
});

it("counts what stands in no file, and what a command refuses, as wrong, and what was not looked for as not known", async () => {
  const engine = createFakeEngine("ollama", [small]);
  engine.answer = ({ messages }) =>
    Promise.resolve({ text: /say: (.*)/.exec(messages.at(-1)?.content ?? "")?.[1] ?? "" });
  const files = [{ path: "app.yaml", text: "port: 8443\n" }];
  const made = (text: string, check: NonNullable<EvalCase["check"]>): EvalCase => ({
    name: text,
    prompt: `say: ${text}`,
    ...(check === "quotes" && { files }),
    check,
    expects: [],
  });
  const own = [
    process.execPath,
    "-e",
    "console.log('a line was not checked'); process.exit(require('fs').readFileSync(process.argv[1], 'utf8') === 'good' ? 0 : 1)",
  ];
  const settings = { checks: { own: { command: own }, gone: { command: ["/nonesuch/program"] } } };
  const checked = [
    made("The port is 8443.", "quotes"),
    made("The port is 9999.", "quotes"),
    made("Well, hello there.", "quotes"),
    made("good", { command: "own" }),
    made("bad", { command: "own" }),
    made("any", { command: "gone" }),
    made("other", { command: "unnamed" }),
  ];
  const found = await evaluate(createTestOrchestrator([engine], { settings }), {
    models: [small.name],
    cases: checked,
  });
  expect(found.rows.at(-1)).toMatchObject({ right: 2, scored: 4, undecided: 2, failed: 0 });
  expect(found.misses.map(({ case: name }) => name)).toEqual(["The port is 9999.", "Well, hello there.", "bad", "any"]);
  expect(found).toMatchObject({ answered: 6, decidedBy: { quotes: 3, command: 4 } });
  expect(found.notes).toEqual([expect.stringMatching(/^llama3\.2:3b did not answer 1 case: .*unnamed/)]);
});
