import { afterEach, describe, expect, it } from "vitest";
import { ModelDoesNotFit } from "../../../src/orchestrator/api/errors.ts";
import type { GenerateRequest } from "../../../src/orchestrator/api/facade.ts";
import { createOllamaEngine } from "../../../src/orchestrator/engines/ollama/index.ts";
import type { Candidate } from "../../../src/orchestrator/routing/candidate.ts";
import { profileForTask } from "../../../src/orchestrator/config/profiles.ts";
import { type FakeModel, startFakeOllama } from "../../support/fake-ollama.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { candidate, loaded, order, request } from "./candidates.ts";

/** As Ollama lists them. */
const library = {
  "llama2:7b": { sizeBytes: 3.8e9, parameterSize: "7B", contextTokens: 4096 },
  "llama2:13b": { sizeBytes: 7.4e9, parameterSize: "13B", contextTokens: 4096 },
  "codellama:7b": { sizeBytes: 3.8e9, parameterSize: "7B", contextTokens: 16_384 },
  "mistral:7b": { sizeBytes: 4.4e9, parameterSize: "7.2B", contextTokens: 32_768 },
  "llama3:8b-instruct-q8_0": { sizeBytes: 8.5e9, parameterSize: "8.0B", contextTokens: 8192 },
  "llama3:8b-instruct-q5_K_M": { sizeBytes: 5.7e9, parameterSize: "8.0B", contextTokens: 8192 },
  "llama3:8b-instruct-q4_K_M": { sizeBytes: 4.9e9, parameterSize: "8.0B", contextTokens: 8192 },
  "llama3.2:3b": { sizeBytes: 2e9, parameterSize: "3.2B", contextTokens: 131_072 },
  "phi3:mini": { sizeBytes: 2.2e9, parameterSize: "3.8B", contextTokens: 4096 },
} as const;
type Name = keyof typeof library;

const installed = (...names: readonly Name[]): readonly FakeModel[] =>
  names.map((name) => ({ name, ...library[name] }));
const published = ["llama2:7b", "llama2:13b", "codellama:7b", "mistral:7b", "phi3:mini"] as const;
const preferred = "llama3:8b-instruct-q8_0";

describe("the published rules, as a decision", () => {
  const entry = (name: Name, more: Partial<Candidate> = {}): Candidate =>
    candidate(name, {
      sizeBytes: library[name].sizeBytes,
      parameterCount: Number.parseFloat(library[name].parameterSize) * 1e9,
      ...more,
    });
  const ask = (task: "code" | "reasoning" | "general", more: Parameters<typeof request>[0] = {}) =>
    request({ task, profile: profileForTask(task, "general"), outputTokens: 500, ...more });
  const high = { complexity: "high" } as const;
  const unfit = (...names: readonly Name[]) => names.map((name) => entry(name, { fits: "no" }));

  it("coding + high → codellama:7b", () => {
    const all = published.map((name) => entry(name));
    expect(order(ask("code", high), all)[0]).toBe("codellama:7b");
    // Larger ones of other families are about as large, and no code models.
    expect(order(ask("code", high), [...all, candidate("llama3.1:8b", { parameterCount: 8e9 })])[0]).toBe(
      "codellama:7b",
    );
  });

  it("reasoning + high → llama2:13b if memory allows", () => {
    const all = published.map((name) => entry(name));
    expect(order(ask("reasoning", high), all)[0]).toBe("llama2:13b");
    const small = all.map((each) => (each.model === "llama2:7b" ? loaded("llama2:7b", { parameterCount: 7e9 }) : each));
    expect(order(ask("reasoning", high), small)[0]).toBe("llama2:13b");
  });

  it("reasoning + high → else llama2:7b", () => {
    const rest = published.filter((name) => name !== "llama2:13b").map((name) => entry(name));
    expect(order(ask("reasoning", high), [...rest, ...unfit("llama2:13b")])[0]).toBe("llama2:7b");
  });

  it("preferred model too large → a smaller quantization of it, the nearest first", () => {
    const all = ["mistral:7b", "llama3.2:3b", "llama3:8b-instruct-q4_K_M", "llama3:8b-instruct-q5_K_M"] as const;
    expect(
      order(ask("general", { preferred }), [...all.map((name) => entry(name)), ...unfit(preferred)]).slice(0, 2),
    ).toEqual(["llama3:8b-instruct-q5_K_M", "llama3:8b-instruct-q4_K_M"]);
    // It is what the user prefers, in another file: a loaded model of another family yields to it.
    const other = loaded("mistral:7b", { sizeBytes: 4.4e9 });
    expect(
      order(ask("general", { preferred }), [entry("llama3:8b-instruct-q4_K_M"), other, ...unfit(preferred)])[0],
    ).toBe("llama3:8b-instruct-q4_K_M");
  });

  it("→ then a smaller family member", () => {
    const rest = ["mistral:7b", "phi3:mini", "llama3.2:3b"] as const;
    const quantized = unfit(preferred, "llama3:8b-instruct-q5_K_M", "llama3:8b-instruct-q4_K_M");
    expect(order(ask("general", { preferred }), [...rest.map((name) => entry(name)), ...quantized])[0]).toBe(
      "llama3.2:3b",
    );
  });

  it("→ then the next family: 8b → 7b → phi", () => {
    const seven = entry("mistral:7b");
    expect(order(ask("general", { preferred }), [entry("phi3:mini"), seven, ...unfit(preferred)])).toEqual([
      "mistral:7b",
      "phi3:mini",
    ]);
    expect(order(ask("general", { preferred }), [entry("phi3:mini"), ...unfit(preferred, "mistral:7b")])).toEqual([
      "phi3:mini",
    ]);
  });

  it("a model that the request names is never replaced, not even by another quantization", () => {
    const all = [entry("llama3:8b-instruct-q4_K_M"), ...unfit(preferred)];
    expect(order(ask("general", { model: preferred }), all)).toEqual([]);
  });
});

describe("the published rules, on an Ollama with limited memory", () => {
  const closing: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0).toReversed()) await close();
  });

  async function answeredBy(
    models: readonly FakeModel[],
    memoryGB: number,
    ask: Partial<GenerateRequest>,
    settings = {},
  ) {
    const fake = await startFakeOllama({ models });
    const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };
    const memoryBytes = memoryGB * 1e9;
    const engine = createOllamaEngine({ id: "ollama", host: fake.url, memoryBytes, now: () => performance.now(), log });
    const { generate, orchestrator } = createTestOrchestrator([engine], { settings });
    closing.push(
      () => fake.close(),
      () => orchestrator.close(),
    );
    return (await generate(ask)).model;
  }

  it.each([
    [{ task: "code", complexity: "high" }, 32, "codellama:7b"],
    [{ task: "reasoning", complexity: "high" }, 32, "llama2:13b"],
    [{ task: "reasoning", complexity: "high" }, 8, "llama2:7b"],
    [{ task: "code", complexity: "high" }, 8, "codellama:7b"],
  ] as const)("%j with %d GB → %s", async (ask, memoryGB, expected) => {
    expect(await answeredBy(installed(...published), memoryGB, ask)).toBe(expected);
  });

  it.each([
    [32, preferred],
    [9, "llama3:8b-instruct-q5_K_M"],
    [7.5, "llama3:8b-instruct-q4_K_M"],
    [5, "llama3.2:3b"],
  ] as const)("the preferred model with %d GB → %s", async (memoryGB, expected) => {
    const models = installed(
      "mistral:7b",
      preferred,
      "llama3:8b-instruct-q5_K_M",
      "llama3:8b-instruct-q4_K_M",
      "llama3.2:3b",
      "phi3:mini",
    );
    const settings = { model: { default: preferred } };
    expect(await answeredBy(models, memoryGB, {}, settings)).toBe(expected);
  });

  it("without another one of its family: 8b → 7b → phi", async () => {
    const models = installed(preferred, "mistral:7b", "phi3:mini");
    const settings = { model: { default: preferred } };
    expect(await answeredBy(models, 8, {}, settings)).toBe("mistral:7b");
    expect(await answeredBy(models, 5, {}, settings)).toBe("phi3:mini");
  });

  it("a named model is refused instead", async () => {
    const models = installed(preferred, "llama3:8b-instruct-q4_K_M", "mistral:7b");
    await expect(answeredBy(models, 8, { model: preferred })).rejects.toMatchObject({
      constructor: ModelDoesNotFit,
      next: [expect.objectContaining({ step: "useModel", model: "llama3:8b-instruct-q4_K_M" })],
    });
  });
});
