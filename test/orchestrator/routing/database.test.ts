import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  describeFromDatabase,
  lookUp,
  modelDatabase,
  safeDefaults,
} from "../../../src/orchestrator/routing/database.ts";
import { tasks } from "../../../src/orchestrator/api/types.ts";
import { findProfile } from "../../../src/orchestrator/config/profiles.ts";

function entry(pattern: string) {
  return modelDatabase.find((row) => row.pattern === pattern);
}

describe("the published rows", () => {
  it("llama3.1:* (llama, 128000, tools, general+code)", () => {
    expect(entry("llama3.1:*")).toMatchObject({
      family: "llama",
      contextTokens: 128_000,
      capabilities: ["completion", "tools"],
      profiles: ["general", "code"],
    });
  });

  it("codellama:* (16384, no tools, code)", () => {
    const row = entry("codellama:*");
    expect(row).toMatchObject({ contextTokens: 16_384, profiles: ["code"] });
    expect(row?.capabilities).not.toContain("tools");
  });

  it("mistral:* (32768, tools, general+fast)", () => {
    const row = entry("mistral:*");
    expect(row).toMatchObject({ contextTokens: 32_768, profiles: ["general", "fast"] });
    expect(row?.capabilities).toContain("tools");
  });
});

describe("the model database", () => {
  it("has at least 60 different patterns", () => {
    const patterns = modelDatabase.map(({ pattern }) => pattern);
    expect(new Set(patterns).size).toBe(patterns.length);
    expect(patterns.length).toBeGreaterThanOrEqual(60);
  });

  it.each(modelDatabase.map((row) => [row.pattern, row] as const))(
    "%s is complete and found by its own name",
    (pattern, row) => {
      expect(row.source).not.toBe("");
      expect(row.released).toMatch(/^20\d\d-(?:0[1-9]|1[0-2])$/);
      expect(row.family).toMatch(/^[a-z0-9-]+$/);
      expect(row.contextTokens).toBeGreaterThanOrEqual(128);
      expect(row.capabilities.some((capability) => capability === "completion" || capability === "embedding")).toBe(
        true,
      );
      expect(
        row.profiles.every((name) => findProfile(name) !== undefined || (tasks as readonly string[]).includes(name)),
      ).toBe(true);
      expect(row.profiles.length > 0).toBe(row.capabilities.includes("completion"));
      expect(row.outputTokens ?? 0).toBeLessThanOrEqual(row.contextTokens);
      expect(lookUp(pattern.replaceAll("*", ""))?.pattern).toBe(pattern);
    },
  );
});

describe("lookUp", () => {
  it.each([
    ["llama3.1", "llama3.1:*"],
    ["llama3.1:8b-instruct-q4_K_M", "llama3.1:*"],
    ["LLAMA3.1:70B", "llama3.1:*"],
    ["llama3:8b", "llama3:*"],
    ["llama3.2:1b", "llama3.2:1b*"],
    ["llama3.2:3b", "llama3.2:*"],
    ["llama3.2-vision:11b", "llama3.2-vision:*"],
    ["qwen2.5-coder:7b", "qwen2.5-coder:*"],
    ["qwen2.5:7b", "qwen2.5:*"],
    ["qwen2.5vl:7b", "qwen2.5vl:*"],
    ["qwen3:4b-instruct-2507-q4_K_M", "qwen3:4b-instruct*"],
    ["qwen3:4b-thinking-2507-q4_K_M", "qwen3:*2507*"],
    ["deepseek-coder-v2:16b", "deepseek-coder-v2:*"],
    ["deepseek-coder:6.7b", "deepseek-coder:*"],
    ["deepseek-r1:8b", "deepseek-r1:*"],
    ["granite3.1-dense:8b", "granite3.1:*"],
    ["phi3:mini-128k", "phi3:*128k*"],
    ["phi3", "phi3:*"],
    ["gemma:2b", "gemma:*"],
    ["gemma2:2b", "gemma2:2b*"],
    ["mxbai-embed-large", "mxbai-embed-large:*"],
    ["dolphin-llama3:8b", "dolphin-llama3:*"],
    ["smollm2:135m", "smollm2:*"],
    ["mistral-nemo", "mistral-nemo:*"],
    ["ghcr.example:5000/team/mistral:7b", "mistral:*"],
    ["someone/my-mistral-tune:v2", "mistral:*"],
    ["registry.ollama.ai/library/codellama:7b-code", "codellama:*"],
    ["hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M", "llama3.2:*"],
    ["hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M", "llama3.2:1b*"],
    ["hf.co/bartowski/Meta-Llama-3.1-8B-Instruct-GGUF", "llama3.1:*"],
    ["hf.co/Qwen/Qwen2.5-Coder-7B-Instruct-GGUF:Q4_K_M", "qwen2.5-coder:*"],
    ["hf.co/unsloth/gemma-3-1b-it-GGUF:Q8_0", "gemma3:1b*"],
    ["hf.co/google/gemma-2b-it-GGUF", "gemma:*"],
    ["hf.co/bartowski/gemma-2-9b-it-GGUF:Q4_K_M", "gemma2:*"],
    ["hf.co/microsoft/Phi-3-mini-4k-instruct-gguf", "phi3:*"],
    ["hf.co/TheBloke/Mixtral-8x22B-Instruct-v0.1-GGUF", "mixtral:8x22b*"],
    ["hf.co/unsloth/DeepSeek-R1-Distill-Llama-8B-GGUF:Q4_K_M", "deepseek-r1:*"],
    ["hf.co/HuggingFaceTB/SmolLM2-135M-Instruct-GGUF", "smollm2:*"],
    ["hf.co/mistralai/Mistral-7B-Instruct-v0.3", "mistral:*"],
    ["hf.co/ibm-granite/granite-3.3-8b-instruct-GGUF", "granite3.3:*"],
    ["hf.co/microsoft/phi-2-GGUF", "phi-2:*"],
    ["command-r-08-2024", "command-r:*"],
    ["mistral-large-2407", "mistral-large:*"],
    ["OpenHermes-2.5-Mistral-7B", "openhermes:*"],
  ])("finds %s as %s", (name, pattern) => {
    expect(lookUp(name)?.pattern).toBe(pattern);
  });

  it.each(["", ":", "/", "practice-model:latest", "phil:1b", "codex", "constructor", "a".repeat(10_000)])(
    "has no row for %j",
    (name) => {
      expect(lookUp(name)).toBeUndefined();
    },
  );

  it.each(["gemma9:12b", "qwen7.5:8b", "hf.co/org/Phi-9-mini", "smollm5"])(
    "does not match %s, an unknown generation, to the row of the first one",
    (name) => {
      expect(lookUp(name)).toBeUndefined();
    },
  );

  it("takes bounded time for any text", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 2000 }), (name) => {
        const row = lookUp(name);
        expect(row === undefined || modelDatabase.includes(row)).toBe(true);
      }),
    );
  });
});

describe("describeFromDatabase", () => {
  it("gives unknown models safe defaults", () => {
    expect(describeFromDatabase("practice-model:latest")).toEqual({
      family: "unknown",
      contextTokens: 4096,
      capabilities: ["completion"],
      profiles: [],
    });
    expect(safeDefaults).toMatchObject({ contextTokens: 4096, capabilities: ["completion"], profiles: [] });
  });

  it("prefers the engine's facts over the database", () => {
    const described = describeFromDatabase("llama3.1:8b", { contextTokens: 131_072, capabilities: ["completion"] });
    expect(described).toMatchObject({ contextTokens: 131_072, capabilities: ["completion"] });
  });

  it("uses the database if the engine has no facts", () => {
    expect(describeFromDatabase("llama3.1:8b", { capabilities: [] })).toMatchObject({
      contextTokens: 128_000,
      capabilities: ["completion", "tools"],
    });
  });

  it("takes the family from the database, because files call half of all models llama", () => {
    expect(describeFromDatabase("codellama:7b", { architecture: "llama" }).family).toBe("codellama");
    expect(describeFromDatabase("practice-model", { architecture: "llama" }).family).toBe("llama");
    expect(describeFromDatabase("gemma9:12b", { architecture: "gemma9" }).family).toBe("gemma");
  });

  it.each(["my-coder:7b", "supercode", "acme/Code-Wizard-GGUF:Q4", "assistant:7b-code"])(
    "gives %s no profile, because the database has no row for it",
    (name) => {
      expect(describeFromDatabase(name).profiles).toEqual([]);
    },
  );

  it("adds the code profile to a known family with a code name", () => {
    expect(describeFromDatabase("mistral-code:7b").profiles).toEqual(["general", "fast", "code"]);
  });

  it.each(["my-cross-encoder", "sound-decoder:1b", "video-transcoder"])(
    "does not classify %s as a code model",
    (name) => {
      expect(describeFromDatabase(name).profiles).toEqual([]);
    },
  );

  it("has no profiles for embedding models, whatever their name", () => {
    expect(describeFromDatabase("nomic-embed-code").profiles).toEqual([]);
    expect(describeFromDatabase("code-search", { capabilities: ["embedding"] }).profiles).toEqual([]);
  });

  it("includes the output limit of the model card", () => {
    expect(describeFromDatabase("gemma3:4b").outputTokens).toBe(8192);
    expect(describeFromDatabase("llama3.1:8b")).not.toHaveProperty("outputTokens");
  });
});
