import { describe, expect, it } from "vitest";
import type { Candidate } from "../../../src/orchestrator/routing/candidate.ts";
import { chooseModel } from "../../../src/orchestrator/routing/choose.ts";
import { candidate, loaded, order, request } from "./candidates.ts";

type Asked = NonNullable<Parameters<typeof request>[0]>;

const code = (more: Asked = {}) => request({ task: "code", profile: "code", ...more });

describe("a loaded model that matches only the fallback", () => {
  it("yields to a better match that loads quickly", () => {
    const names = (more: Asked, seconds: number) =>
      order(code(more), [loaded("mistral:7b"), candidate("codellama:7b", { expectedLoadSeconds: seconds })]);
    expect(names({}, 6)[0]).toBe("codellama:7b");
    expect(names({}, 10)[0]).toBe("codellama:7b");
    expect(names({}, 10.1)[0]).toBe("mistral:7b");
    expect(names({ maxSwitchSeconds: 60 }, 20)[0]).toBe("codellama:7b");
    expect(names({ maxSwitchSeconds: 0 }, 1)[0]).toBe("mistral:7b");
  });

  it("stays first if loading the better match would unload a model in use", () => {
    const busy = { fits: "after_eviction", evictsInUse: true, expectedLoadSeconds: 6 } as const;
    expect(chooseModel(code(), [candidate("codellama:7b", busy), loaded("mistral:7b")]).chain[0]).toMatchObject({
      candidate: { model: "mistral:7b" },
      reason:
        "loaded, fits general profile, codellama:7b fits code better but is not loaded (about 6 s), and loading it would unload a model in use",
    });
    const idle = { ...busy, evictsInUse: false };
    expect(order(code(), [candidate("codellama:7b", idle), loaded("mistral:7b")])[0]).toBe("codellama:7b");
  });

  it("has the reason why the better match was not chosen", () => {
    const reason = (better: Candidate, more: Asked = {}) =>
      chooseModel(code({ privacy: "allow_remote", ...more }), [better, loaded("mistral:7b")]).chain[0]?.reason;
    expect(reason(candidate("qwen3-coder:480b-cloud", { trust: "remote" }))).toBe(
      "loaded, fits general profile, qwen3-coder:480b-cloud fits code better but is remote",
    );
    expect(reason(candidate("codellama:7b"), { promptTokens: 15_000, outputTokens: 4096 })).toBe(
      "loaded, fits general profile, codellama:7b fits code better but has a window of 16384 tokens",
    );
    expect(reason(candidate("gemma2:9b"))).toBe(
      "loaded, fits general profile, best available for code, about 39 s sooner than gemma2:9b",
    );
  });
});

it("unknown models match no profile and come after known ones, by size", () => {
  const general = (...candidates: Candidate[]) => order(request(), candidates);
  // As large a window, and the architecture of a preferred family.
  const wide = { contextTokens: 131_072, family: "llama" };
  expect(general(candidate("tinyfoo:0.1b", wide), candidate("gemma2:9b"))[0]).toBe("gemma2:9b");
  expect(general(candidate("weirdmodel:1b", wide), candidate("phi3:mini"))[0]).toBe("phi3:mini");
  expect(general(candidate("weirdmodel:1b", wide), candidate("llama2:7b"))[0]).toBe("llama2:7b");
  const unknown = ["one:1b", "four:4b", "two:2b"].map((name, at) =>
    candidate(name, { ...wide, parameterCount: [1e9, 4e9, 2e9][at] ?? 0 }),
  );
  expect(general(...unknown)).toEqual(["four:4b", "two:2b", "one:1b"]);
  expect(chooseModel(request(), unknown).chain[0]?.reason).toBe(
    "best available for general, stronger than two:2b at this task, fits in memory",
  );
  // A name with "code" suggests the purpose of a model, not its quality.
  expect(order(code(), [candidate("mycoder:70b", wide), candidate("codellama:7b")])[0]).toBe("codellama:7b");
});

it("fast, without a model of that profile, takes the smallest general one", () => {
  const fast = request({ task: "fast", profile: "fast" });
  const sized = (name: string, parameterCount: number, contextTokens = 32_768) =>
    candidate(name, { parameterCount, contextTokens });
  const names = [sized("codellama:7b", 7e9), sized("gemma2:9b", 9e9), sized("qwen2.5:3b", 3e9), sized("yi:6b", 6e9)];
  expect(order(fast, names)).toEqual(["qwen2.5:3b", "yi:6b", "gemma2:9b", "codellama:7b"]);
  // Windows too short for any profile.
  const short = [sized("codellama:7b", 7e9, 2048), sized("llama2:7b", 7e9, 2048), sized("yi:6b", 6e9, 2048)];
  expect(order(fast, short)).toEqual(["yi:6b", "llama2:7b", "codellama:7b"]);
});

describe("a routing pass", () => {
  it("reads each model about as often among many as among few", () => {
    const readsPerModel = (count: number): number => {
      let reads = 0;
      const names = ["llama3.1:8b", "qwen3:8b", "phi4:14b", "house:1b"];
      const counted = Array.from({ length: count }, (_unused, index) => {
        const each = candidate(`${names[index % names.length]}-v${index}`, { isLoaded: index % 5 === 0 });
        return new Proxy(each, { get: (of, key) => ((reads += 1), Reflect.get(of, key)) });
      });
      const { chain, considered } = chooseModel(request(), counted);
      expect([chain.length, considered.length]).toEqual([count, count]);
      return reads / count;
    };
    // The sort adds a comparison for each doubling; comparing each with each would multiply the reads by 16.
    expect(readsPerModel(3_200) / readsPerModel(200)).toBeLessThan(2);
  });
});

describe("profiles, with models whose profiles the settings state,", () => {
  it("are matched by those that are meant for them, or for what they build on", () => {
    const meant = (...profiles: string[]) => candidate("tinyfoo:7b", { profiles, hasStatedProfiles: true });
    const firstFor = (profile: string, tiny: Candidate) =>
      order(request({ profile }), [loaded("plainbar:7b"), tiny])[0];
    // No family of theirs, and unknown to the database.
    for (const profile of ["general", "text", "reasoning"])
      expect(firstFor(profile, meant("general"))).toBe("tinyfoo:7b");
    expect(firstFor("general", meant("text"))).toBe("plainbar:7b");
    expect(firstFor("text", meant("text"))).toBe("tinyfoo:7b");
    const seeing = { capabilities: ["completion", "vision"] } as const;
    const both = [
      loaded("tinyfoo:7b", { ...seeing, profiles: ["code"], hasStatedProfiles: true }),
      candidate("other:7b", seeing),
    ];
    expect(order(request({ task: "vision", profile: "vision" }), both)[0]).toBe("other:7b");
  });

  it("take those that are meant for others last, also remote and strong ones", () => {
    const remote = { trust: "remote", isLoaded: true, engine: "cloud", sizeBytes: 0 } as const;
    const large = candidate("tinyfoo:700b", { ...remote, profiles: ["code"], hasStatedProfiles: true });
    const asked = request({ privacy: "allow_remote" });
    expect(order(asked, [large, candidate("plainbar:7b", remote)])).toEqual(["plainbar:7b", "tinyfoo:700b"]);
    expect(order(code({ privacy: "allow_remote" }), [candidate("plainbar:7b", remote), large])[0]).toBe("tinyfoo:700b");
  });
});
