import { expect, it, onTestFinished } from "vitest";
import { createLog } from "../../src/orchestrator/api/log.ts";
import { createOllamaEngine } from "../../src/orchestrator/engines/ollama/index.ts";
import { createOpenAiEngine } from "../../src/orchestrator/engines/openai/index.ts";
import { traceOf } from "../../src/server/call/call.ts";
import { openAiOptions } from "../orchestrator/engines/openai/fixture.ts";
import { startFakeOllama } from "../support/fake-ollama.ts";
import { startFakeOpenAi } from "../support/fake-openai.ts";
import { connectMemoryClient } from "../support/memory-client.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";
import { startListener } from "./http/listener-fixture.ts";

const id = "4bf92f3577b34da6a3ce929d0e0e4736";
const parent = "00f067aa0ba902b7";
const given = `00-${id}-${parent}-01`;
const vendors = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";

/** The real adapters and orchestrator, each before a real HTTP server that keeps the headers it got. */
async function servers() {
  const ollama = await startFakeOllama();
  const house = await startFakeOpenAi({ dialect: "vllm", models: [{ id: "house:1b" }] });
  const log = createLog("warn", () => undefined);
  const { orchestrator } = createTestOrchestrator([
    createOllamaEngine({ host: new URL(ollama.url).host, now: () => performance.now(), log }),
    createOpenAiEngine(openAiOptions(house.baseUrl, { trust: "local" })),
  ]);
  onTestFinished(async () => {
    await orchestrator.close();
    await ollama.close();
    await house.close();
  });
  const last = () => [...ollama.requests, ...house.requests].filter(({ path }) => /chat/.test(path)).at(-1)?.headers;
  return { orchestrator, last };
}

it.each(["smollm2:135m", "house:1b"])(
  "a call's trace goes on to the server of %s, and is in the list",
  async (model) => {
    const { orchestrator, last } = await servers();
    const { client, noted } = await connectMemoryClient(orchestrator);
    onTestFinished(() => client.close());
    const ask = async (_meta?: Record<string, unknown>) => {
      const input = { name: "route_and_generate", arguments: { prompt: "Hi", model } };
      const answer = await client.callTool({ ...input, ...(_meta && { _meta }) });
      expect(answer.isError, JSON.stringify(answer.content)).not.toBe(true);
      return last();
    };

    const sent = await ask({ traceparent: given, tracestate: vendors });
    const [, version, traceId, span, flags] = /^(..)-(.{32})-(.{16})-(..)$/.exec(String(sent?.["traceparent"])) ?? [];
    expect([version, traceId, flags, sent?.["tracestate"]]).toEqual(["00", id, "01", vendors]);
    expect(span).toMatch(/^[\da-f]{16}$/);
    expect(span).not.toBe(parent);
    expect(noted.at(-1)).toMatchObject({ trace: id });
    expect((await ask({ traceparent: given }))?.["traceparent"]).not.toBe(sent?.["traceparent"]);

    const without = await ask();
    expect(without).not.toHaveProperty("traceparent");
    const invalid = await ask({ traceparent: given.replace("4", "G"), tracestate: vendors });
    expect(invalid).not.toHaveProperty("traceparent");
    expect(invalid).not.toHaveProperty("tracestate");

    const { contents } = await client.readResource({ uri: `ollm://requests?trace=${id}` });
    const page = JSON.parse((contents[0] as { text: string }).text) as { total: number; requests: { trace: string }[] };
    expect([page.total, page.requests[0]?.trace]).toEqual([2, id]);
  },
);

const hi = [{ role: "user", content: "Hi" }];

it.each([
  ["openai", "/v1/chat/completions", { messages: hi }],
  ["anthropic", "/v1/messages", { messages: hi, max_tokens: 50 }],
  ["ollama", "/api/chat", { messages: hi, stream: false }],
] as const)("a program's trace goes on through the API of %s", async (door, path, body) => {
  const { orchestrator, last } = await servers();
  const listener = await startListener({ orchestrator, settings: { doors: [door] }, doors: [door] });
  onTestFinished(() => listener.close());
  const ask = async (headers: Record<string, string>) => {
    const answer = await listener.ask(path, { method: "POST", headers, body: { model: "house:1b", ...body } });
    expect(answer.status, answer.text).toBe(200);
    return last();
  };
  const sent = await ask({ traceparent: given, tracestate: vendors });
  expect(sent?.["traceparent"]).toMatch(new RegExp(`^00-${id}-(?!${parent})[\\da-f]{16}-01$`));
  expect(sent?.["tracestate"]).toBe(vendors);
  expect(await ask({})).not.toHaveProperty("traceparent");
});

it.each([
  ["of version 00", given, { id, flags: "01" }],
  ["with flags that version 00 does not know", given.replace(/01$/, "fe"), { id, flags: "02" }],
  ["of a later version, with more fields", `cc${given.slice(2)}-what-the-future-brings`, { id, flags: "01" }],
  ["of version ff", `ff${given.slice(2)}`, undefined],
  ["of version 00 with more fields", `${given}-more`, undefined],
  ["with an id of zeros", given.replace(id, "0".repeat(32)), undefined],
  ["with a parent of zeros", given.replace(parent, "0".repeat(16)), undefined],
  ["in capitals", given.toUpperCase(), undefined],
  ["that is too short", given.slice(0, -1), undefined],
  ["that Node joined of two", `${given}, ${given}`, undefined],
  ["with a line break", `${given}\nx: y`, undefined],
  ["that is no text", 7, undefined],
])("a traceparent %s", (_name, traceparent, trace) => {
  expect(traceOf({ traceparent })).toEqual(trace);
});

it.each([
  ["of 512 characters", "a=".padEnd(512, "b"), true],
  ["that is longer", "a=".padEnd(513, "b"), false],
  ["with a line break", "a=b\r\nx: y", false],
  ["that is no text", 7, false],
])("a tracestate %s", (_name, tracestate, isKept) => {
  expect(traceOf({ traceparent: given, tracestate })?.state).toBe(isKept ? tracestate : undefined);
});
