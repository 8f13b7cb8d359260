import { describe, expect, it } from "vitest";
import { InvalidRequest } from "../../../src/orchestrator/api/errors.ts";
import { chooseModel } from "../../../src/orchestrator/routing/choose.ts";
import { profileNamed } from "../../../src/orchestrator/config/profiles.ts";
import { candidate, loaded, order, request } from "./candidates.ts";

const code = (more: Parameters<typeof request>[0] = {}) => request({ task: "code", profile: "code", ...more });

describe("the hierarchy", () => {
  it("1. already loaded: a loaded match beats an unloaded better one", () => {
    const choice = chooseModel(code(), [candidate("codellama:7b"), loaded("llama3.1:8b")]);
    expect(choice.chain.map(({ candidate: { model }, reason }) => [model, reason])).toEqual([
      ["llama3.1:8b", "loaded, fits code profile, about 10 s sooner than codellama:7b"],
      ["codellama:7b", "fits code profile, fits in memory"],
    ]);
  });

  it("1. already loaded: also a model that matches only the fallback profile", () => {
    const choice = chooseModel(code(), [candidate("codellama:7b"), loaded("mistral:7b")]);
    expect(choice.chain[0]).toMatchObject({
      candidate: { model: "mistral:7b" },
      reason: "loaded, fits general profile, codellama:7b fits code better but is not loaded (about 20 s)",
    });
    expect(choice).toMatchObject({ profile: "code", fallback: "general" });
  });

  it("1. already loaded: the better match of two", () => {
    expect(order(code(), [loaded("mistral:7b"), loaded("codellama:7b")])).toEqual(["codellama:7b", "mistral:7b"]);
  });

  it("1. already loaded: not an embedding model, and not a model without a match before one with a match", () => {
    const embedding = loaded("nomic-embed-text");
    const tiny = loaded("tinyllama:1.1b");
    expect(order(request(), [embedding, tiny, candidate("llama3.1:8b")])).toEqual(["llama3.1:8b", "tinyllama:1.1b"]);
  });

  it("2. task match: the profile before its fallback", () => {
    expect(order(code(), [candidate("mistral:7b"), candidate("codellama:7b")])).toEqual(["codellama:7b", "mistral:7b"]);
  });

  it("2. task match: an unknown model with code in its name matches no profile, but comes before other unknown models", () => {
    for (const name of ["my-coder:7b", "supercode:latest"]) {
      const wide = { contextTokens: 131_072 };
      expect(order(code(), [candidate("foo:9b", wide), candidate(name, wide), candidate("mistral:7b")])).toEqual([
        "mistral:7b",
        name,
        "foo:9b",
      ]);
      expect(chooseModel(code(), [candidate(name)]).chain[0]?.reason).toBe("best available for code, fits in memory");
    }
  });

  it("returns the requested profile, and the fallback if that is used", () => {
    expect(chooseModel(code(), [candidate("mistral:7b")])).toMatchObject({ profile: "code", fallback: "general" });
    expect(chooseModel(code(), [candidate("codellama:7b")]).fallback).toBeUndefined();
    expect(chooseModel(code(), [candidate("foo:9b")]).fallback).toBeUndefined();
  });

  it("3. fits: equal models that fit now before those that require unloading; models that don't fit are excluded", () => {
    const choice = chooseModel(request(), [
      candidate("llama3.1:70b", { fits: "no" }),
      candidate("qwen2.5:7b", { fits: "after_eviction" }),
      candidate("qwen2.5:7b-instruct", { fits: "now" }),
    ]);
    expect(choice.chain.map(({ candidate: { model }, reason }) => [model, reason])).toEqual([
      ["qwen2.5:7b-instruct", "fits general profile, fits in memory"],
      ["qwen2.5:7b", "fits general profile, fits after unloading others"],
    ]);
    expect(choice.considered.at(-1)).toEqual({
      model: "llama3.1:70b",
      engine: "ollama",
      rejected: "does not fit in memory",
    });
  });

  it("4. same family: replaces a preferred model that does not fit", () => {
    const choice = chooseModel(request({ preferred: "qwen2.5:32b" }), [
      candidate("qwen2.5:32b", { fits: "no", sizeBytes: 20e9 }),
      candidate("llama3.1:8b"),
      candidate("qwen2.5:7b-q4_K_M"),
    ]);
    expect(choice.chain[0]).toMatchObject({
      candidate: { model: "qwen2.5:7b-q4_K_M" },
      reason: "fits general profile, same family as qwen2.5:32b, which does not fit, fits in memory",
    });
  });

  it("5. nothing fits: the error names the model and its size", () => {
    expect(chooseModel(request(), [candidate("llama3.1:70b", { fits: "no", sizeBytes: 40e9 })])).toMatchObject({
      chain: [],
      failure: {
        kind: "memory",
        message: "llama3.1:70b (40.0 GB) does not fit in memory, even with all idle models unloaded",
        next: [
          { step: "planLoad", model: "llama3.1:70b" },
          { step: "pullModelThat", that: "that is smaller" },
        ],
      },
    });
  });

  it("5. nothing fits: the error names pinned models if they are the cause", () => {
    const pinned = candidate("llama3.1:70b", { fits: "no", sizeBytes: 40e9, pinnedInTheWay: ["bge-m3", "llava:7b"] });
    expect(chooseModel(request(), [candidate("qwen2.5:32b", { fits: "no", sizeBytes: 20e9 }), pinned])).toMatchObject({
      considered: [
        { rejected: "does not fit in memory" },
        { rejected: "does not fit in memory while bge-m3, llava:7b are pinned" },
      ],
      failure: {
        kind: "memory",
        message: "llama3.1:70b (40.0 GB) does not fit in memory while bge-m3, llava:7b are pinned",
        next: { step: "unpinModels", models: ["bge-m3", "llava:7b"] },
      },
    });
  });
});

describe("profiles", () => {
  it("match only models with their minimum window", () => {
    // starcoder has 8,192 tokens, the code profile asks for 16,384.
    expect(order(code(), [candidate("starcoder:7b"), candidate("mistral:7b")])[0]).toBe("mistral:7b");
    expect(order(code(), [candidate("starcoder2:7b"), candidate("mistral:7b")])[0]).toBe("starcoder2:7b");
  });

  it("count the order of their families among models of a kind, and exclude no other", () => {
    const names = ["gemma:7b", "yi:6b", "llama2:70b", "mistral:7b"];
    expect(
      order(
        request({ task: "fast", profile: "fast" }),
        names.map((name) => candidate(name)),
      ),
    ).toEqual(["gemma:7b", "mistral:7b", "yi:6b", "llama2:70b"]);
  });

  it("prefer, after their families, models with only this profile", () => {
    expect(order(code(), [candidate("llama3.1:8b"), candidate("qwen2.5-coder:7b")])[0]).toBe("qwen2.5-coder:7b");
  });

  it("are served by any model if none matches", () => {
    const choice = chooseModel(request(), [loaded("tinyllama:1.1b")]);
    expect(choice.chain[0]?.reason).toBe("loaded, best available for general");
    expect(choice.profile).toBe("general");
  });

  it("that are unknown are refused with the allowed ones", () => {
    expect(() => profileNamed("creativ")).toThrow(
      expect.objectContaining({
        message:
          'unknown profile "creativ"; allowed: fast, general, code, creative, text, vision, audio, web, orchestrator, swarm, simple, reasoning, typescript, typescript-monorepo, python, rust, go, documentation',
        next: [{ step: "didYouMean", names: ["creative"] }],
      }),
    );
    expect(() => profileNamed("constructor")).toThrow(InvalidRequest);
  });
});

describe("size", () => {
  const sizes = [
    candidate("qwen2.5:3b", { parameterCount: 3e9 }),
    candidate("qwen2.5:32b", { parameterCount: 32e9 }),
    candidate("qwen2.5:7b", { parameterCount: 7.6e9 }),
    candidate("qwen2.5:14b", { parameterCount: 14e9 }),
  ];

  it("without complexity: the strongest that answers as quickly as people read, and the slowest last", () => {
    expect(order(request(), sizes)).toEqual(["qwen2.5:7b", "qwen2.5:14b", "qwen2.5:3b", "qwen2.5:32b"]);
  });

  it("without complexity: the measured speed decides what is fast, whatever the size", () => {
    const experts = candidate("qwen2.5:30b-a3b", { parameterCount: 30e9, activeBytes: 1.8e9, tokensPerSecond: 11 });
    const slow = candidate("qwen2.5:9b", { parameterCount: 9e9, tokensPerSecond: 1 });
    expect(order(request(), [...sizes, slow, experts]).slice(0, 3)).toEqual([
      "qwen2.5:30b-a3b",
      "qwen2.5:7b",
      "qwen2.5:14b",
    ]);
  });

  it("between equals: the shortest measured load time", () => {
    const equal = [
      candidate("qwen2.5:a"),
      candidate("qwen2.5:b", { reloadSeconds: 9 }),
      candidate("qwen2.5:c", { reloadSeconds: 3 }),
    ];
    expect(order(request(), equal)).toEqual(["qwen2.5:c", "qwen2.5:b", "qwen2.5:a"]);
  });

  it("complexity high: larger first", () => {
    expect(order(request({ complexity: "high" }), sizes)).toEqual([
      "qwen2.5:32b",
      "qwen2.5:14b",
      "qwen2.5:7b",
      "qwen2.5:3b",
    ]);
  });

  it("complexity low: smaller first", () => {
    expect(order(request({ complexity: "low" }), sizes)).toEqual([
      "qwen2.5:3b",
      "qwen2.5:7b",
      "qwen2.5:14b",
      "qwen2.5:32b",
    ]);
  });

  it("complexity high: a loaded model yields to one of more than twice its size", () => {
    const small = loaded("qwen2.5:3b", { parameterCount: 3e9 });
    expect(order(request({ complexity: "high" }), [small, ...sizes.slice(2)])[0]).toBe("qwen2.5:14b");
    expect(
      order(request({ complexity: "high" }), [small, candidate("qwen2.5:3.5b", { parameterCount: 3.5e9 })])[0],
    ).toBe("qwen2.5:3b");
    expect(order(request(), [small, ...sizes.slice(2)])[0]).toBe("qwen2.5:3b");
  });

  it("fast profile: smaller first", () => {
    const names = [candidate("phi3:14b", { parameterCount: 14e9 }), candidate("phi3:3.8b", { parameterCount: 3.8e9 })];
    expect(order(request({ task: "fast", profile: "fast" }), names)[0]).toBe("phi3:3.8b");
  });
});

describe("hard filters", () => {
  it("capability: those of the task and the request are required", () => {
    const text = loaded("mistral:7b");
    const sees = candidate("llava:7b");
    const embeds = candidate("nomic-embed-text");
    expect(order(request({ task: "vision" }), [text, sees, embeds])).toEqual(["llava:7b"]);
    expect(order(request({ task: "embedding", outputTokens: 0 }), [text, sees, embeds])).toEqual(["nomic-embed-text"]);
    expect(order(request({ needs: ["tools"] }), [candidate("llama2:7b"), text])).toEqual(["mistral:7b"]);
    expect(chooseModel(request({ task: "vision" }), [text, loaded("llama2:7b")]).failure).toMatchObject({
      message: "none of the 2 models reads images",
      missing: ["vision"],
      next: { step: "pullModelThat", that: "that has vision" },
    });
    expect(chooseModel(request({ task: "vision" }), [text]).failure?.message).toBe(
      "the only model, mistral:7b, lacks vision",
    );
  });

  it("window: half of the estimated prompt and a short answer must fit", () => {
    const choice = chooseModel(request({ promptTokens: 80_000 }), [loaded("mistral:7b"), candidate("llama3.1:8b")]);
    expect(choice.chain).toHaveLength(1);
    expect(choice.considered.at(-1)?.rejected).toBe("has a window of 32768 tokens, at least 40256 are required");
  });

  it("window: a model with a window below the estimate comes last, with that reason", () => {
    const choice = chooseModel(request({ promptTokens: 40_000 }), [loaded("mistral:7b"), candidate("llama3.1:8b")]);
    expect(choice.chain.map(({ candidate: { model } }) => model)).toEqual(["llama3.1:8b", "mistral:7b"]);
    expect(choice.chain[1]?.reason).toContain("prompt estimated at 40000 tokens for its window of 32768");
  });

  it("window: a model without room for the whole answer comes last, with that reason", () => {
    const choice = chooseModel(request({ promptTokens: 30_000, outputTokens: 4096 }), [
      loaded("mistral:7b"),
      candidate("llama3.1:8b"),
    ]);
    expect(choice.chain.map(({ candidate: { model } }) => model)).toEqual(["llama3.1:8b", "mistral:7b"]);
    expect(choice.chain[1]?.reason).toContain("window of 32768 tokens leaves about 2768 for the answer");
  });

  it("window: the error for a prompt that is too long has both numbers", () => {
    const choice = chooseModel(request({ promptTokens: 300_000 }), [loaded("mistral:7b"), candidate("llama3.1:8b")]);
    expect(choice.failure).toMatchObject({
      kind: "context",
      message: "the prompt has about 300000 tokens; the largest window has 128000 (llama3.1:8b)",
      next: { step: "shortenPrompt", byTokens: 172_256 },
    });
    expect(chooseModel(request({ promptTokens: 70_000 }), [loaded("mistral:7b")]).failure).toMatchObject({
      kind: "context",
      message: "the prompt has about 70000 tokens; the window has 32768 (mistral:7b)",
      next: [
        { step: "shortenPrompt", byTokens: 37_488 },
        { step: "pullModelThat", that: "that has a window of 131072 tokens", example: "granite4.1:8b" },
      ],
    });
  });

  it("privacy: no remote model under local_only, even if no other model serves", () => {
    const remote = candidate("kimi-k2:1t-cloud", { trust: "remote", sizeBytes: 0 });
    const unfit = candidate("llama3.1:70b", { fits: "no" });
    expect(order(request(), [remote, unfit])).toEqual([]);
    expect(order(request({ model: "kimi-k2:1t-cloud" }), [remote])).toEqual([]);
    expect(order(request({ preferred: "kimi-k2:1t-cloud" }), [remote, candidate("mistral:7b")])).toEqual([
      "mistral:7b",
    ]);
    expect(chooseModel(request(), [remote]).failure).toEqual({
      kind: "privacy",
      message: "kimi-k2:1t-cloud would send the request off this machine, and privacy is local_only",
      next: [
        { step: "pullModelThat", that: "that runs on this machine" },
        { step: "changeSetting", setting: "privacy", to: "allow_remote" },
      ],
    });
  });

  it("privacy: if allowed, remote models come after all local ones", () => {
    const remote = loaded("qwen3-coder:480b-cloud", { trust: "remote", sizeBytes: 0 });
    const short = candidate("tinyllama:1.1b", { fits: "after_eviction" });
    const choice = chooseModel(code({ privacy: "allow_remote" }), [remote, short]);
    expect(choice.chain.map(({ candidate: { model } }) => model)).toEqual(["tinyllama:1.1b", "qwen3-coder:480b-cloud"]);
  });

  it("cool-down: models that failed recently are excluded, with the reason", () => {
    const failing = loaded("mistral:7b", { coolDown: "failed 3 times, tried again in 20 s" });
    expect(order(request(), [failing, candidate("llama3.1:8b")])).toEqual(["llama3.1:8b"]);
    expect(chooseModel(request(), [failing]).failure).toMatchObject({
      kind: "cool_down",
      message: "mistral:7b is cooling down: failed 3 times, tried again in 20 s",
    });
  });
});

describe("a model named by the request", () => {
  const candidates = [
    candidate("llama3.1:8b"),
    candidate("qwen2.5:7b", { engine: "llama-cpp", sizeBytes: 5e9 }),
    candidate("qwen2.5:7b", { sizeBytes: 5e9 }),
    candidate("qwen2.5:32b", { fits: "no", sizeBytes: 20e9 }),
    loaded("mistral:latest"),
  ];

  it("is the only candidate, on every engine that has it, in the configured order", () => {
    const { chain, considered } = chooseModel(request({ model: "qwen2.5:7b" }), candidates);
    expect(chain.map(({ candidate: { engine }, reason }) => [engine, reason])).toEqual([
      ["llama-cpp", "requested, fits in memory"],
      ["ollama", "requested, fits in memory"],
    ]);
    expect(considered).toHaveLength(candidates.length);
  });

  it("may lack the tag latest, and differ in case", () => {
    expect(order(request({ model: "Mistral" }), candidates)).toEqual(["mistral:latest"]);
  });

  it("that does not fit is not replaced: the next step names a suitable model", () => {
    expect(chooseModel(request({ model: "qwen2.5:32b" }), candidates)).toMatchObject({
      chain: [],
      failure: {
        kind: "memory",
        message: "qwen2.5:32b (20.0 GB) does not fit in memory, even with all idle models unloaded",
        next: { step: "useModel", model: "qwen2.5:7b", because: "suits this request" },
      },
    });
  });

  it("that lacks a capability is refused with the next step of a model that has it", () => {
    expect(
      chooseModel(request({ model: "mistral", task: "vision" }), [...candidates, candidate("llava:7b")]).failure,
    ).toEqual({
      kind: "capability",
      message: "mistral lacks vision",
      next: { step: "useModel", model: "llava:7b", because: "suits this request" },
    });
  });

  it("that is unknown is refused with the nearest names", () => {
    expect(chooseModel(request({ model: "qwen2.5:7" }), candidates).failure).toEqual({
      kind: "unknown_model",
      message: "no model qwen2.5:7",
      next: [
        { step: "didYouMean", names: ["qwen2.5:7b", "qwen2.5:32b"] },
        { step: "pullModel", model: "qwen2.5:7" },
      ],
    });
    expect(chooseModel(request({ model: "zzz" }), candidates).failure?.next).toEqual([
      { step: "pullModel", model: "zzz" },
      { step: "listModels" },
    ]);
  });
});

describe("a preferred model", () => {
  it("comes before a loaded match", () => {
    const choice = chooseModel(code({ preferred: "qwen2.5-coder:7b" }), [
      loaded("codellama:7b"),
      candidate("qwen2.5-coder:7b"),
    ]);
    expect(choice.chain[0]?.reason).toBe("preferred, fits code profile, fits in memory");
  });

  it("that can't serve is skipped", () => {
    expect(
      order(request({ preferred: "nomic-embed-text" }), [candidate("nomic-embed-text"), candidate("mistral:7b")]),
    ).toEqual(["mistral:7b"]);
    expect(order(request({ preferred: "not-installed" }), [candidate("mistral:7b")])).toEqual(["mistral:7b"]);
  });
});

it("with no model at all the failure names a model to pull", () => {
  expect(chooseModel(request(), [])).toEqual({
    chain: [],
    considered: [],
    profile: "general",
    failure: {
      kind: "unknown_model",
      message: "no model is installed",
      next: [{ step: "pullModelThat", that: "that fits this machine" }, { step: "listModels" }],
    },
  });
});
