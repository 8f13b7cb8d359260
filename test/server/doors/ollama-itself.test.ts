import { describe, expect, it } from "vitest";
import { checkEngines } from "../../../src/cli/setup/check-engines.ts";
import { EngineUnreachable } from "../../../src/orchestrator/api/errors.ts";
import { settingsSchema } from "../../../src/orchestrator/config/schema.ts";
import { createOllamaEngine } from "../../../src/orchestrator/engines/ollama/index.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { silentIo } from "../../support/silent-io.ts";
import { startListeners } from "../http/listener-fixture.ts";

const start = startListeners();
const { signal } = new AbortController();
const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };

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
    const checks = await checkEngines(
      {
        io: silentIo,
        home: "/nonexistent-home",
        build: "1.0.0+a",
        runtime: { nodeVersion: "v22.1.0", isElectron: false },
        daemon: {},
        settings: settingsSchema.parse({ providers: { ollama: { host } }, store: { readOllama: false } }),
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
    expect(checks.find(({ name }) => name === "ollama")?.message).toContain("ollm itself answers there");
  });
});
