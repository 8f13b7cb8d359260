import { describe, expect, it } from "vitest";
import type { Engine } from "../../../src/orchestrator/engines/engine.ts";
import { createFakeEngine } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const ollama = (id: string, address: string, more: Partial<Engine> = {}) =>
  createFakeEngine(id, [], { address, ...more });
const embedded = createFakeEngine("llama-cpp", [], { kind: "llama-cpp", address: "embedded" });

async function messages(engines: readonly ReturnType<typeof ollama>[]) {
  const { orchestrator, caller } = createTestOrchestrator(engines);
  const status = await orchestrator.systemStatus(caller());
  return status.engines.map(({ id, message }) => [id, message]);
}

describe("the status of engines", () => {
  it("contains the address of each of several Ollama servers", async () => {
    expect(
      await messages([ollama("ollama", "http://127.0.0.1:11434"), ollama("ollama-2", "http://box:11434"), embedded]),
    ).toEqual([
      ["ollama", "at http://127.0.0.1:11434"],
      ["ollama-2", "at http://box:11434"],
      ["llama-cpp", undefined],
    ]);
  });

  it("contains the address once, with the problem", async () => {
    const health = (message: string) => () => Promise.resolve({ isReachable: false, message });
    const silent = ollama("ollama", "http://a:11434", { health: health("does not answer at a:11434") });
    const other = ollama("ollama-2", "http://b:11434", { health: health("no Ollama") });
    expect(await messages([silent, other])).toEqual([
      ["ollama", "does not answer at a:11434"],
      ["ollama-2", "at http://b:11434: no Ollama"],
    ]);
  });

  it("contains no address if there is only one server", async () => {
    expect(await messages([ollama("ollama", "http://127.0.0.1:11434"), embedded])).toEqual([
      ["ollama", undefined],
      ["llama-cpp", undefined],
    ]);
  });
});
