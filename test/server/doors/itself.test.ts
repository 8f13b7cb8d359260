import { describe, expect, it } from "vitest";
import { checkEngines } from "../../../src/cli/setup/check-engines.ts";
import { EngineUnreachable } from "../../../src/orchestrator/api/errors.ts";
import { settingsSchema } from "../../../src/orchestrator/config/schema.ts";
import { createOpenAiEngine } from "../../../src/orchestrator/engines/openai/index.ts";
import { createOllamaEngine } from "../../../src/orchestrator/engines/ollama/index.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { silentIo } from "../../support/silent-io.ts";
import { openAiOptions } from "../../orchestrator/engines/openai/fixture.ts";
import { ask, startListeners } from "../http/listener-fixture.ts";

const start = startListeners();
const { signal } = new AbortController();
const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };

/** What the doctor says of engines. */
const checked = async (settings: object) =>
  await checkEngines(
    {
      io: silentIo,
      home: "/nonexistent-home",
      build: "1.0.0+a",
      runtime: { nodeVersion: "v22.1.0", isElectron: false },
      daemon: {},
      settings: settingsSchema.parse(settings),
      isOllamaExpected: true,
      memory: () => Promise.reject(new Error("not asked here")),
      freeBytes: () => Promise.reject(new Error("not asked here")),
      get: async (url) => {
        const reply = await fetch(url);
        return { status: reply.status, body: await reply.text() };
      },
    },
    signal,
  );

describe.each([false, true])("our own Ollama API at providers.ollama.host (without a token: %s)", (isWithoutToken) => {
  it("is no Ollama server to the engine, so that no request goes in a circle", async () => {
    const fake = createFakeEngine("other", [fakeModel("small:1b", gigabyte)]);
    const { orchestrator } = createTestOrchestrator([fake]);
    const { port } = await start({ orchestrator, doors: ["ollama"], isWithoutToken });
    const engine = createOllamaEngine({ host: `127.0.0.1:${port}`, now: () => performance.now(), log });
    const message = expect.stringContaining("ollm itself answers there (http.ollamaPort)") as string;
    expect(await engine.health(signal)).toEqual({ isReachable: false, message });
    await expect(engine.list(signal)).rejects.toThrow(EngineUnreachable);
    await expect(engine.residency?.loaded(signal)).rejects.toMatchObject({ message });
    const request = { model: "small:1b", messages: [], maxTokens: 1, sampling: {}, contextTokens: 2_048 };
    const sink = { text: () => undefined, thinking: () => undefined, phase: () => undefined };
    await expect(engine.generate(request, sink, signal)).rejects.toMatchObject({ message });
    expect(fake.calls).toEqual([]);
    await engine.close();
  });

  it("is named by the doctor", async () => {
    const { port } = await start({ doors: ["ollama"], isWithoutToken });
    const host = `http://127.0.0.1:${port}`;
    const checks = await checked({ providers: { ollama: { host } }, store: { readOllama: false } });
    expect(checks.find(({ name }) => name === "ollama")?.message).toContain("ollm itself answers there");
  });
});

describe.each([false, true])("our own OpenAI API at providers.openai (without a token: %s)", (isWithoutToken) => {
  it("refuses this daemon's own engine, so that no request goes in a circle, and nothing else", async () => {
    const fake = createFakeEngine("other", [fakeModel("small:1b", gigabyte)]);
    const { orchestrator } = createTestOrchestrator([fake]);
    const setup = { orchestrator, settings: { doors: ["openai" as const] }, isWithoutToken };
    const { port, token } = await start(setup);
    const url = `http://127.0.0.1:${port}`;
    const engine = createOpenAiEngine(openAiOptions(`${url}/v1`, { apiKey: async () => token }));
    const message = expect.stringContaining(`at 127.0.0.1:${port} is no other server: ollm itself`) as string;
    expect(await engine.health(signal)).toMatchObject({ isReachable: false, message });
    await expect(engine.list(signal)).rejects.toThrow(EngineUnreachable);
    await expect(engine.embedding?.embed("small:1b", ["a"], signal)).rejects.toMatchObject({ message });
    await engine.close();
    // That of another daemon.
    const foreign = { headers: { "ollm-engine": "0b0e7a5c-0000-4000-8000-000000000000" }, method: "GET" };
    expect((await ask(port, "/v1/models", token, foreign)).status).toBe(200);
  });

  it("is named by the doctor", async () => {
    const { port } = await start({ settings: { doors: ["openai"] }, isWithoutToken: true });
    const baseUrl = `http://127.0.0.1:${port}`;
    const providers = { openai: [{ id: "house", baseUrl, kind: "local" }], ollama: { enabled: false } };
    const checks = await checked({ providers, store: { readOllama: false } });
    expect(checks.find(({ name }) => name === "house")?.message).toContain("an ollm answers at");
  });
});
