import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { GenerationFailed, InvalidConfig, OrchestratorError } from "../../src/orchestrator/api/errors.ts";
import type { Engine } from "../../src/orchestrator/engines/engine.ts";
import { createOpenAiEngine } from "../../src/orchestrator/engines/openai/index.ts";
import type { OpenAiOptions } from "../../src/orchestrator/engines/openai/server.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { type FakeOpenAi, type FakeOpenAiOptions, startFakeOpenAi, wrongLists } from "../support/fake-openai.ts";
import { createHandSettings } from "../support/hand-settings.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";
import { openAiOptions } from "./engines/openai/fixture.ts";

const chat = "/v1/chat/completions";
const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const always = { times: Number.POSITIVE_INFINITY };
const quick = { connectMs: 2_000, firstTokenMs: 5_000, betweenTokensMs: 5_000, totalMs: 20_000 };

interface Failure {
  readonly server?: FakeOpenAiOptions;
  readonly options?: Partial<OpenAiOptions>;
  /** After the models were listed once. */
  readonly happens?: (fake: FakeOpenAi) => unknown;
  readonly message: RegExp;
  /** What the caller can do: part of a text, or the name of a step. */
  readonly next: string;
  /** How often the server gets the prompt in one request. */
  readonly asked: number;
  /** The server's models were never known, so that it isn't tried. */
  readonly isUnlisted?: true;
}

/** The failures that a server in a cloud, a cluster or the house can have. */
const failures: Readonly<Record<string, Failure>> = {
  "its name is unknown": {
    options: { baseUrl: "http://nowhere.invalid:9/v1", allowedHosts: () => ["nowhere.invalid:9"] },
    message: /house does not answer at nowhere\.invalid:9 \((ENOTFOUND|EAI_AGAIN)\)/,
    next: "pullModel",
    asked: 0,
    isUnlisted: true,
  },
  "it refuses connections": {
    happens: (fake) => fake.stop(),
    message: /house does not answer at 127\.0\.0\.1:\d+ \(ECONNREFUSED\)/,
    next: "check that the server runs",
    asked: 0,
  },
  "its certificate is not trusted": {
    server: { tls: true },
    message: /the certificate of 127\.0\.0\.1:\d+ \(house\) is not trusted \(/,
    next: "pullModel",
    asked: 0,
    isUnlisted: true,
  },
  "it refuses the key (401)": {
    happens: (fake) =>
      fake.misbehave({ kind: "status", status: 401, body: { error: { message: "bad key" } }, ...always }),
    message: /house refused the API key while answering with smollm2: bad key \(HTTP 401\)/,
    next: "check the key that apiKeyFile or apiKeyEnv of house names",
    asked: 1,
  },
  "the account is empty (402)": {
    happens: (fake) =>
      fake.misbehave({
        kind: "status",
        status: 402,
        headers: { "retry-after": "3600" },
        body: "no balance",
        ...always,
      }),
    message: /house refused answering with smollm2: the quota is used up: no balance \(HTTP 402\)/,
    next: "top up the account",
    asked: 1,
  },
  "it limits requests (429)": {
    happens: (fake) => fake.misbehave({ kind: "status", status: 429, headers: { "retry-after": "90" }, ...always }),
    message: /house limits requests while answering with smollm2: .*\(HTTP 429\)/,
    next: "retry",
    asked: 1,
  },
  "it fails (500)": {
    happens: (fake) => fake.misbehave({ kind: "status", status: 500, body: { error: { message: "oops" } }, ...always }),
    message: /house failed while answering with smollm2: oops \(HTTP 500\)/,
    next: "retry",
    asked: 3,
  },
  "it closes the connection before the first token": {
    happens: (fake) => fake.misbehave({ kind: "cut", ...always }),
    message: /house closed the connection while answering with smollm2/,
    next: "retry",
    asked: 3,
  },
  "it closes the connection in the middle of the answer": {
    happens: (fake) => fake.misbehave({ kind: "cut", afterTokens: 3, ...always }),
    message: /house closed the connection while answering with smollm2/,
    next: "retry",
    asked: 1,
  },
  "it ends the stream without an end of the answer": {
    happens: (fake) => fake.misbehave({ kind: "end", afterTokens: 3, ...always }),
    message: /house closed the connection while answering with smollm2/,
    next: "retry",
    asked: 1,
  },
  "it sends a line that is no JSON": {
    happens: (fake) => fake.misbehave({ kind: "garbage", body: "data: {nonsense", afterTokens: 2, ...always }),
    message: /house sent an invalid reply while answering with smollm2/,
    next: "retry",
    asked: 1,
  },
  "it hangs before the first token": {
    options: { limits: { ...quick, firstTokenMs: 150 } },
    happens: (fake) => fake.misbehave({ kind: "hang", ...always }),
    // 15 ms more a character of the prompt.
    message: /house sent nothing for 0\.225 s while answering with smollm2/,
    next: "retry",
    asked: 1,
  },
  "it hangs between two tokens": {
    options: { limits: { ...quick, betweenTokensMs: 150 } },
    happens: (fake) => fake.misbehave({ kind: "hang", afterTokens: 3, ...always }),
    message: /house sent nothing for 0\.15 s while answering with smollm2/,
    next: "retry",
    asked: 1,
  },
  "its answer takes longer than all of it may": {
    server: { tokensPerSecond: 20, models: [{ id: "smollm2", reply: "blue green red yellow ".repeat(50) }] },
    options: { limits: { ...quick, totalMs: 200 } },
    message: /house .*0\.2 s while answering with smollm2/,
    next: "retry",
    asked: 1,
  },
  "its list of models is a page to sign in": {
    happens: (fake) =>
      fake.misbehave({ kind: "status", on: "/v1/models", status: 200, body: wrongLists.page, ...always }),
    message: /no model is installed; house sent an invalid reply while listing models$/,
    next: "pullModel",
    asked: 0,
    isUnlisted: true,
  },
  "its list of models has no models": {
    happens: (fake) =>
      fake.misbehave({ kind: "status", on: "/v1/models", status: 200, body: wrongLists.types, ...always }),
    message: /no model is installed/,
    next: "pullModel",
    asked: 0,
    isUnlisted: true,
  },
  "its model was removed meanwhile": {
    server: { dialect: "vllm" },
    happens: (fake) => fake.models.clear(),
    message: /house has no model smollm2/,
    next: "listModels",
    asked: 1,
  },
  "its key is missing": {
    options: {
      apiKey: () => Promise.reject(new InvalidConfig("OLLM_HOUSE_KEY is not set", { next: { step: "editSettings" } })),
    },
    message: /house was not asked while listing models: OLLM_HOUSE_KEY is not set/,
    next: "pullModel",
    asked: 0,
    isUnlisted: true,
  },
  "it redirects to another host": {
    happens: (fake) =>
      fake.misbehave({ kind: "status", status: 307, headers: { location: "http://127.0.0.2:9/v1" }, ...always }),
    message: /house at 127\.0\.0\.1:\d+ redirects to 127\.0\.0\.2:9, and redirects are not followed/,
    next: "check baseUrl of house",
    asked: 1,
  },
};

/** A server with that failure, alone or beside an engine of this machine. */
async function setUp({ server, options, happens, isUnlisted }: Failure, isAlone: boolean) {
  const fake = await startFakeOpenAi(server);
  onTestFinished(() => fake.close());
  const engine = createOpenAiEngine(openAiOptions(fake.baseUrl, { limits: quick, ...options }));
  const here = createFakeEngine("ollama", [small]);
  const engines: readonly Engine[] = isAlone ? [engine] : [engine, here];
  const harness = createTestOrchestrator(engines, { settings: { model: { default: "smollm2" } } });
  // Known before the failure happens, unless it is one of the list.
  if (isUnlisted !== true) await harness.orchestrator.listModels(harness.caller(), {});
  await happens?.(fake);
  const prompts = () => fake.requests.filter(({ path }) => path === chat).length;
  return { fake, engine, prompts, ...harness };
}

/** Nothing is left of the requests: no connection in use, no lease, no queue; and none at all after the close. */
async function expectNothingLeft({ engine, fake, orchestrator, caller }: Awaited<ReturnType<typeof setUp>>) {
  expect((await orchestrator.systemStatus(caller())).queue).toEqual([]);
  expect(orchestrator.activity().operations).toEqual([]);
  await expect.poll(() => engine.connections?.()?.generation.running ?? 0).toBe(0);
  await orchestrator.close();
  await expect.poll(() => fake.connections.open).toBe(0);
}

async function thrown(work: Promise<unknown>): Promise<OrchestratorError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  // Anything else would be shown as an internal error.
  expect(error).toBeInstanceOf(OrchestratorError);
  return error as OrchestratorError;
}

describe.each(Object.entries(failures))("a server: %s", (_, failure) => {
  it("another model answers, and the answer says why", async () => {
    const tried = await setUp(failure, false);
    const startedMs = performance.now();
    const { text, model, engine, reason, route } = await tried.generate({});
    expect({ text, model, engine }).toEqual({ text: `${small.name} says hello`, model: small.name, engine: "ollama" });
    expect(performance.now() - startedMs).toBeLessThan(5_000);
    expect(tried.prompts()).toBe(failure.asked);
    if (failure.isUnlisted === true) expect(route.attempts).toHaveLength(1);
    else {
      expect(reason).toContain("after smollm2 failed");
      expect(route.attempts).toEqual([
        { model: "smollm2", engine: "house", outcome: expect.stringMatching(failure.message) as string },
        { model: small.name, engine: "ollama", outcome: "answered" },
      ]);
    }
    await expectNothingLeft(tried);
  });

  it("alone, the error says what happened and what to do", async () => {
    const tried = await setUp(failure, true);
    const error = await thrown(tried.generate({}));
    expect(error.message).toMatch(failure.message);
    expect(JSON.stringify(error.next)).toContain(failure.next);
    await expectNothingLeft(tried);
  });
});

it.each(["it limits requests (429)", "the account is empty (402)"])(
  "%s: it isn't asked before its time",
  async (name) => {
    const failure = failures[name];
    if (failure === undefined) throw new Error(name);
    const tried = await setUp(failure, true);
    await thrown(tried.generate({}));
    const again = await thrown(tried.generate({ model: "smollm2" }));
    expect(again.message).toMatch(/^smollm2 is cooling down: house .* tried again in (90 s|60 min)$/);
    expect(tried.prompts()).toBe(1);
    await expectNothingLeft(tried);
  },
);

it("a server that is busy for a moment is waited for, and one that fails once is asked again", async () => {
  const tried = await setUp({ message: /./, next: "", asked: 0 }, true);
  tried.fake.misbehave({ kind: "status", status: 429, headers: { "retry-after-ms": "40" } });
  tried.fake.misbehave({ kind: "status", status: 503, body: { error: { message: "Loading model" } } });
  tried.fake.misbehave({ kind: "cut" });
  const { engine, route } = await tried.generate({});
  expect([engine, route.attempts.length, tried.prompts()]).toEqual(["house", 2, 4]);
  await expectNothingLeft(tried);
});

it("all candidates down: the error names each", async () => {
  const fakes = await Promise.all([startFakeOpenAi(), startFakeOpenAi({ models: [{ id: "qwen3" }] })]);
  for (const fake of fakes) onTestFinished(() => fake.close());
  const engines = fakes.map((fake, at) => createOpenAiEngine(openAiOptions(fake.baseUrl, { id: `house-${at}` })));
  for (const engine of engines) onTestFinished(() => engine.close());
  const here = createFakeEngine("ollama", [small]);
  here.answer = () => Promise.reject(new GenerationFailed("it crashed"));
  const { generate, orchestrator, caller } = createTestOrchestrator([...engines, here]);
  await orchestrator.listModels(caller(), {});
  for (const fake of fakes)
    fake.misbehave({ kind: "status", status: 500, body: { error: { message: "oops" } }, ...always });
  const { message } = await thrown(generate({}));
  expect(message).toMatch(/^3 models failed: /);
  for (const part of [
    "smollm2 (house-0): house-0 failed",
    "qwen3 (house-1): house-1 failed",
    `${small.name} (ollama): `,
  ])
    expect(message).toContain(part);
});

it("a configuration that breaks while it runs: the earlier one stays in force, and the status says so", async () => {
  const fake = await startFakeOpenAi();
  onTestFinished(() => fake.close());
  const live = createHandSettings();
  const engine = createOpenAiEngine(openAiOptions(fake.baseUrl));
  onTestFinished(() => engine.close());
  const { generate, orchestrator, caller } = createTestOrchestrator([engine], { live });
  await generate({});
  live.breakFile("config.yaml, line 3: providers.openai[0].baseUrl: not an address");
  expect((await generate({})).engine).toBe("house");
  expect((await orchestrator.systemStatus(caller())).warnings.join()).toContain("providers.openai[0].baseUrl");
});

it("a redirect sends nothing to its target", async () => {
  const reached: string[] = [];
  const target = createServer((request, response) => {
    reached.push(request.url ?? "");
    response.end();
  });
  await new Promise<void>((resolve) => target.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void target.close());
  const { port } = target.address() as AddressInfo;
  for (const on of ["/v1/models", chat]) {
    const tried = await setUp(
      {
        happens: (fake) =>
          fake.misbehave({
            kind: "status",
            on,
            status: 308,
            headers: { location: `http://127.0.0.1:${port}${on}` },
            ...always,
          }),
        message: /./,
        next: "",
        asked: 1,
        ...(on === chat ? {} : { isUnlisted: true }),
      },
      true,
    );
    expect((await thrown(tried.generate({}))).message).toContain("redirects are not followed");
  }
  expect(reached).toEqual([]);
});
