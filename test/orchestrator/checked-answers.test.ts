import { describe, expect, it } from "vitest";
import { CheckFailed, GenerationFailed, InvalidRequest } from "../../src/orchestrator/api/errors.ts";
import type { GenerateRequest } from "../../src/orchestrator/api/facade.ts";
import type { Generation, GenerationRequest } from "../../src/orchestrator/engines/generation.ts";
import { eventually } from "../support/eventually.ts";
import { type FakeEngine, createFakeEngine, createGate, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const small = fakeModel("llama3.2:1b", gigabyte, { parameterSize: "1B" });
const large = fakeModel("llama3.1:8b", 5 * gigabyte, { parameterSize: "8B" });
const cloud = fakeModel("kimi-k2:cloud", 0, { trust: "remote" });
const format = { type: "object", properties: { port: { type: "integer" } }, required: ["port"] };
const wrong = '{"port": "many"}';
const right = '{"port": 80}';

/** Answers in turn, the last one again and again; keeps the requests. */
function scripted(engine: FakeEngine, answers: Readonly<Record<string, readonly Partial<Generation>[]>>) {
  const requests: GenerationRequest[] = [];
  const counts = new Map<string, number>();
  engine.answer = (request) => {
    requests.push(request);
    const count = counts.get(request.model) ?? 0;
    counts.set(request.model, count + 1);
    const own = answers[request.model] ?? [];
    return Promise.resolve(own[Math.min(count, own.length - 1)] ?? {});
  };
  return requests;
}

const texts = (...answers: readonly string[]) => answers.map((text) => ({ text }));

function setUp(
  models: Parameters<typeof createFakeEngine>[1],
  answers: Parameters<typeof scripted>[1],
  settings: object = {},
) {
  const engine = createFakeEngine("ollama", models);
  return { engine, requests: scripted(engine, answers), ...createTestOrchestrator([engine], { settings }) };
}

const preferSmall = { model: { default: small.name } };

describe("an answer with a format", () => {
  it("is returned as it is if it matches, after one request", async () => {
    const { generate, requests } = setUp([small], { [small.name]: texts(right) });
    expect(await generate({ format })).toMatchObject({ text: right, completionTokens: 3, notes: [] });
    expect(requests).toHaveLength(1);
  });

  it("is corrected once by the same model, which sees it with the reason; all before it stays the same", async () => {
    const { generate, requests } = setUp([small], { [small.name]: texts(wrong, right) });
    const asked = { format, files: [{ path: "a.md", text: "the port is 80" }], prompt: "port?", grounded: false };
    const { text, completionTokens, promptTokens, notes, route } = await generate(asked);
    expect({ text, completionTokens, promptTokens }).toEqual({ text: right, completionTokens: 6, promptTokens: 10 });
    expect(notes).toEqual(["models answered 2 times for the check: the tokens are those of all"]);
    expect(route.attempts).toHaveLength(1);
    const [first, second] = requests.map(({ messages }) => messages);
    expect(second?.slice(0, first?.length)).toEqual(first);
    const [bad, correction] = second?.slice(first?.length) ?? [];
    expect(bad).toEqual({ role: "assistant", content: wrong });
    expect(correction?.content).toMatch(/^You answered JSON .*\/port: .*Expected "integer".*corrected JSON/);
    expect(requests[1]?.format).toEqual(format);
  });

  it("that stays wrong is asked of a larger model, and the failed one is not cooling down", async () => {
    const { generate, engine } = setUp(
      [small, large],
      { [small.name]: texts(wrong), [large.name]: texts(right) },
      preferSmall,
    );
    const result = await generate({ format });
    expect(result).toMatchObject({ text: right, model: large.name });
    expect(result.reason).toContain(`the check of ${small.name} failed`);
    expect(result.route.attempts).toMatchObject([
      { model: small.name, outcome: expect.stringContaining("does not match the schema") as string },
      { model: large.name, outcome: "answered" },
    ]);
    engine.answer = () => Promise.resolve({ text: right });
    expect(await generate({ format }), "it is asked first again").toMatchObject({ model: small.name });
  });

  it("that no model can give ends after the chain, with the last text and the validator's message", async () => {
    const { generate, engine } = setUp(
      [small, large],
      { [small.name]: texts(wrong), [large.name]: texts('{"port": 1.5}') },
      preferSmall,
    );
    const failure = await generate({ format }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(CheckFailed);
    expect((failure as CheckFailed).text).toBe('{"port": 1.5}');
    expect((failure as CheckFailed).message).toMatch(
      /^2 models failed: llama3\.2:1b .*; llama3\.1:8b .*\/port: .*; the last answer: \{"port": 1\.5\}$/,
    );
    expect(engine.calls.filter((call) => call.startsWith("generate"))).toHaveLength(4);
  });

  it("of a named model is not asked of another one", async () => {
    const { generate, requests } = setUp([small, large], { [small.name]: texts(wrong) });
    await expect(generate({ format, model: small.name })).rejects.toThrow(`the last answer: ${wrong}`);
    expect(requests.map(({ model }) => model)).toEqual([small.name, small.name]);
  });

  it("that was cut is not valid for that reason", async () => {
    const { generate, requests } = setUp([small], { [small.name]: [{ text: '{"port": 8', finishReason: "length" }] });
    const failure = await generate({ format }).catch((error: unknown) => error as CheckFailed);
    expect(failure).toBeInstanceOf(CheckFailed);
    expect((failure as CheckFailed).message).toContain("ran out of tokens before its JSON was complete");
    expect((failure as CheckFailed).next[0]).toEqual({ step: "raiseArgument", argument: "maxTokens" });
    expect(requests[1]?.messages.at(-1)?.content).toContain("You ran out of tokens before your JSON was complete");
  });

  it("in a code fence is returned without it", async () => {
    const { generate } = setUp([small], { [small.name]: texts(`\`\`\`json\n${right}\n\`\`\``) });
    expect((await generate({ format })).text).toBe(right);
  });

  it("clears the partial text before each further try", async () => {
    const { orchestrator, caller } = setUp([small], { [small.name]: texts(wrong, right) });
    const operation = await orchestrator.generate(caller(), { prompt: "hello", format });
    const seen: string[] = [];
    await operation.follow(caller().signal, () => void seen.push(operation.partial()?.text ?? ""));
    expect(seen).toContain(wrong);
    expect(seen.filter((text) => text.includes(wrong) && text !== wrong)).toEqual([]);
    expect(operation.partial()?.text).toBe(right);
  });

  it("keeps the conversation's last answer only, and its remembered entries in the correction", async () => {
    const { generate, orchestrator, caller, requests } = setUp([small], { [small.name]: texts(wrong, right) });
    await orchestrator.memories.remember(caller(), { key: "host", value: "example.org", isPinned: true });
    const { continueId = "" } = await generate({ format, prompt: "which port does the host have?", continueId: "new" });
    const [first, second] = requests.map(({ messages }) => messages);
    expect(first?.[0]?.content).toContain("example.org");
    expect(second?.[0]).toEqual(first?.[0]);
    await generate({ prompt: "and now?", continueId });
    expect(requests[2]?.messages.map(({ content }) => content)).not.toContain(wrong);
    expect(requests[2]?.messages.map(({ content }) => content)).toContain(right);
  });

  it("cancelled in the middle of a correction ends at once, and frees the model", async () => {
    const gate = createGate();
    const { orchestrator, caller, engine, generate } = setUp([small], {});
    let count = 0;
    engine.answer = async (_request, _sink, signal) => {
      count += 1;
      if (count === 2) await gate.pass(signal);
      return { text: count < 3 ? wrong : right };
    };
    const work = new AbortController();
    const operation = await orchestrator.generate(caller(), { prompt: "hello", format });
    const result = operation.follow(work.signal);
    await gate.entered;
    work.abort();
    await expect(result).rejects.toThrow();
    expect((await generate({ format })).text).toBe(right);
  });

  it("from an engine that ends in the middle of a correction goes to another model", async () => {
    const { generate, engine } = setUp([small, large], {}, preferSmall);
    let count = 0;
    engine.answer = ({ model }) => {
      count += 1;
      if (model === large.name) return Promise.resolve({ text: right });
      return count === 1 ? Promise.resolve({ text: wrong }) : Promise.reject(new GenerationFailed("it was killed"));
    };
    expect(await generate({ format })).toMatchObject({ model: large.name, text: right });
  });
});

describe("a check fails along the chain", () => {
  it("to the cloud only if it is allowed", async () => {
    const answers = { [small.name]: texts(wrong), [cloud.name]: texts(right) };
    const locked = setUp([small, cloud], answers, { privacy: "local_only" });
    await expect(locked.generate({ format })).rejects.toThrow(CheckFailed);
    expect(locked.requests.map(({ model }) => model)).not.toContain(cloud.name);
    const open = setUp([small, cloud], answers, { privacy: "allow_remote" });
    expect(await open.generate({ format })).toMatchObject({ text: right, model: cloud.name });
    await expect(open.generate({ format, privacy: "local_only" })).rejects.toThrow(CheckFailed);
  });

  it("never to a smaller model", async () => {
    const { generate, requests } = setUp(
      [small, large],
      { [large.name]: texts(wrong) },
      { model: { default: large.name } },
    );
    await expect(generate({ format })).rejects.toThrow(CheckFailed);
    expect(new Set(requests.map(({ model }) => model))).toEqual(new Set([large.name]));
  });
});

describe("agree", () => {
  const agree = { check: "agree" } satisfies Partial<GenerateRequest>;

  it("asks three times with a short answer, other seeds and some temperature", async () => {
    const { generate, requests } = setUp([small], { [small.name]: texts("Paris.", "  paris", '"Paris"') });
    const result = await generate({ ...agree, prompt: "The capital of France?" });
    expect(result).toMatchObject({
      text: "Paris.",
      completionTokens: 9,
      check: { kind: "agree", statements: [], votes: { equal: 3, total: 3, others: [] } },
    });
    expect(result.check).not.toHaveProperty("problem");
    expect(result.notes).toContain("models answered 3 times for the check: the tokens are those of all");
    expect(requests.map(({ maxTokens, sampling }) => [maxTokens, sampling.temperature])).toEqual(
      Array.from({ length: 3 }, () => [64, 0.7]),
    );
    expect(new Set(requests.map(({ sampling }) => sampling.seed)).size).toBe(3);
    expect(requests[0]?.messages.at(-1)?.content).toMatch(/^The capital of France\?\n\nAnswer with one word/);
  });

  it("asks at the same time where the engine answers several requests, else one after the other", async () => {
    for (const kind of ["ollama", "llama-cpp"] as const) {
      const engine = createFakeEngine("engine", [small], { kind });
      const { generate } = createTestOrchestrator([engine]);
      let [running, most] = [0, 0];
      engine.answer = async () => {
        running += 1;
        most = Math.max(most, running);
        await new Promise((resolve) => void setImmediate(resolve));
        await new Promise((resolve) => void setImmediate(resolve));
        running -= 1;
        return { text: "yes" };
      };
      await generate(agree);
      expect(most).toBe(kind === "ollama" ? 3 : 1);
    }
  });

  it("unloads a model with a keep-alive of 0 after the last answer only", async () => {
    const engine = createFakeEngine("engine", [small], { kind: "llama-cpp" });
    const { generate } = createTestOrchestrator([engine]);
    engine.answer = () => Promise.resolve({ text: "yes" });
    await generate({ ...agree, keepAliveSeconds: 0 });
    expect(engine.calls.filter((call) => call.startsWith("load"))).toHaveLength(1);
    expect(engine.resident.size).toBe(0);
  });

  it("returns the majority, with the dissent", async () => {
    const { generate } = setUp([small], { [small.name]: texts("Lyon", "Paris", "paris") });
    expect(await generate(agree)).toMatchObject({
      text: "Paris",
      check: { votes: { equal: 2, total: 3, others: [{ text: "Lyon", count: 1 }] } },
    });
  });

  it("compares JSON by its values", async () => {
    const answers = texts('{"port": 80, "a": [1.0]}', '{"a":[1],"port":8e1}', '{"port": 81, "a": [1]}');
    const { generate, requests } = setUp([small], { [small.name]: answers });
    expect(await generate({ ...agree, format })).toMatchObject({
      text: '{"port": 80, "a": [1.0]}',
      check: { votes: { equal: 2, others: [{ text: '{"port": 81, "a": [1]}', count: 1 }] } },
    });
    expect(requests[0]?.messages.at(-1)?.content).toBe("hello");
  });

  it("without a majority it is asked of a larger model, then says that it failed", async () => {
    const answers = { [small.name]: texts("one", "two", "three"), [large.name]: texts("a", "b", "c") };
    const { generate, requests } = setUp([small, large], answers, preferSmall);
    const result = await generate(agree);
    expect(requests.map(({ model }) => model)).toEqual([
      ...Array<string>(3).fill(small.name),
      ...Array<string>(3).fill(large.name),
    ]);
    expect(result).toMatchObject({
      text: "one",
      model: small.name,
      completionTokens: 18,
      check: {
        votes: { equal: 1, total: 3 },
        problem: "no two of 3 answers agree; no stronger model is left: do this yourself",
      },
    });
    expect(result.route.attempts.map(({ outcome }) => outcome)).toEqual(Array(2).fill("no two of 3 answers agree"));
  });

  it("of a named model returns its answer with what failed", async () => {
    const answers = { [small.name]: texts("one", "two", "three") };
    const { generate, requests, orchestrator, caller } = setUp([small, large], answers);
    const { check } = await generate({ ...agree, model: small.name });
    const { rows } = await orchestrator.metrics.requests(caller(), { limit: 1 });
    expect(rows[0]).toMatchObject({ model: small.name, outcome: "doubtful" });
    expect(check).toMatchObject({
      problem: expect.stringContaining(`only ${small.name} may be asked`) as string,
    });
    expect(requests).toHaveLength(3);
  });

  it("an answer that fails is no vote, and all failing is the error", async () => {
    const { generate, engine } = setUp([small], {});
    let count = 0;
    engine.answer = () => {
      count += 1;
      return count === 2 ? Promise.reject(new GenerationFailed("it crashed")) : Promise.resolve({ text: "yes" });
    };
    expect((await generate(agree)).check).toMatchObject({
      votes: { equal: 2, total: 3, others: [{ text: "failed: it crashed", count: 1 }] },
    });
    engine.answer = () => Promise.reject(new GenerationFailed("it crashed"));
    await expect(generate(agree)).rejects.toThrow("it crashed");
  });

  it("cancelled ends all of its answers", async () => {
    const { orchestrator, caller, engine } = setUp([small], {});
    const aborted: boolean[] = [];
    let begun = 0;
    const gate = createGate();
    engine.answer = async (_request, _sink, signal) => {
      begun += 1;
      try {
        await gate.pass(signal);
        return {};
      } finally {
        aborted.push(signal.aborted);
      }
    };
    const work = new AbortController();
    const operation = await orchestrator.generate(caller(), { prompt: "hello", ...agree });
    const result = operation.follow(work.signal);
    await eventually(() => expect(begun).toBe(3));
    work.abort();
    await expect(result).rejects.toThrow();
    await eventually(() => expect(orchestrator.activity().operations).toEqual([]));
    expect(aborted).toEqual([true, true, true]);
  });

  it("keeps the majority alone in a conversation", async () => {
    const { generate, requests } = setUp([small], { [small.name]: texts("Lyon", "Paris", "Paris") });
    const { continueId = "" } = await generate({ ...agree, prompt: "The capital?", continueId: "new" });
    await generate({ prompt: "Why?", continueId });
    expect(requests.at(-1)?.messages.map(({ content }) => content)).toEqual(["The capital?", "Paris", "Why?"]);
  });

  it("at temperature 0 is refused, and so is its plan", async () => {
    const { generate, orchestrator, caller, requests } = setUp([small], {});
    const refusal = "their agreement says nothing";
    await expect(generate({ ...agree, temperature: 0 })).rejects.toThrow(refusal);
    await expect(orchestrator.planGeneration(caller(), { prompt: "hello", ...agree, temperature: 0 })).rejects.toThrow(
      refusal,
    );
    expect(requests).toEqual([]);
  });

  it("of long texts fails with what to do", async () => {
    const essay = "word ".repeat(100);
    const { generate } = setUp([small], { [small.name]: texts(essay) });
    expect((await generate({ ...agree, maxTokens: 500 })).check?.problem).toContain(
      "only short answers or JSON can be compared",
    );
  });
});

describe("quotes", () => {
  const quotes = {
    check: "quotes" as const,
    prompt: "Which port does the server use?",
    files: [{ path: "app.yaml", text: "name: shop\nserver port: 8443\n" }],
  };
  const invented = "The server uses port 80.";
  const quoted = 'The server uses port 8443. "server port: 8443"';

  it("are found in the files, and the answer has the place of each", async () => {
    const { generate, requests } = setUp([small], { [small.name]: texts(quoted) });
    expect(await generate(quotes)).toMatchObject({
      text: "The server uses port 8443. [quoted, app.yaml:2: server port: 8443]",
      check: { kind: "quotes", statements: [{ status: "quoted", where: "app.yaml:2", line: "server port: 8443" }] },
    });
    // The file is the prefix of all questions about it.
    expect(requests[0]?.messages.at(-1)?.content).toMatch(/^File app\.yaml:[^]*quotation marks\.\n\nWhich port/);
  });

  it("that are not found ask a larger model", async () => {
    const answers = { [small.name]: texts(invented), [large.name]: texts(quoted) };
    const { generate } = setUp([small, large], answers, preferSmall);
    const result = await generate(quotes);
    expect(result).toMatchObject({ model: large.name, check: { statements: [{ status: "quoted" }] } });
    expect(result.route.attempts[0]?.outcome).toContain(`1 not found: ${invented}`);
  });

  it("that no model gives end with what was answered, marked, and with what to do", async () => {
    const answers = { [small.name]: texts(invented), [large.name]: texts("The files don't say.") };
    const { generate } = setUp([small, large], answers, preferSmall);
    const { text, check } = await generate(quotes);
    expect(text).toBe(`${invented} [not found; nearest: app.yaml:2: server port: 8443]`);
    expect(check?.problem).toContain("do this yourself");
  });

  it("of JSON are its values", async () => {
    const { generate } = setUp([small], { [small.name]: texts('{"port": 8443}') });
    const { text, check } = await generate({ ...quotes, format });
    expect(text).toBe('{"port": 8443}');
    expect(check?.statements).toEqual([
      { text: "port: 8443", status: "value_found", where: "app.yaml:2", line: "server port: 8443" },
    ]);
  });

  it("without files are refused", async () => {
    const { generate } = setUp([small], {});
    await expect(generate({ check: "quotes" })).rejects.toThrow(InvalidRequest);
  });
});
