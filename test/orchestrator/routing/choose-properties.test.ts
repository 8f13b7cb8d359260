import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Candidate, ChoiceRequest } from "../../../src/orchestrator/routing/candidate.ts";
import { chooseModel } from "../../../src/orchestrator/routing/choose.ts";
import { candidate, order, request } from "./candidates.ts";

const arbitraryCandidate: fc.Arbitrary<Candidate> = fc
  .record({
    model: fc.constantFrom(
      "llama3.1:8b",
      "mistral:7b",
      "codellama:7b",
      "qwen2.5-coder:7b",
      "my-coder",
      "nomic-embed-text",
      "llava:7b",
      "tinyllama",
      "practice",
    ),
    engine: fc.constantFrom("ollama", "llama-cpp"),
    trust: fc.constantFrom("local" as const, "remote" as const),
    isLoaded: fc.boolean(),
    fits: fc.constantFrom("now" as const, "after_eviction" as const, "no" as const),
    parameterCount: fc.option(fc.constantFrom(1e9, 7e9, 30e9), { nil: undefined }),
    sizeBytes: fc.constantFrom(1e9, 5e9, 20e9),
    expectedLoadSeconds: fc.constantFrom(1, 30),
    evictsInUse: fc.boolean(),
    coolDown: fc.option(fc.constant("failed"), { nil: undefined, freq: 5 }),
  })
  .map(({ model, parameterCount, coolDown, ...rest }) =>
    candidate(model, {
      ...rest,
      ...(parameterCount === undefined ? {} : { parameterCount }),
      ...(coolDown === undefined ? {} : { coolDown }),
    }),
  );

const arbitraryRequest: fc.Arbitrary<ChoiceRequest> = fc
  .record({
    task: fc.constantFrom("code", "general", "creative", "fast", "vision", "embedding"),
    profile: fc.constantFrom("fast", "general", "code", "creative"),
    maxSwitchSeconds: fc.constantFrom(0, 10, 60),
    promptTokens: fc.constantFrom(0, 100, 5000, 50_000, 500_000),
    outputTokens: fc.constantFrom(0, 100, 4096),
    needs: fc.constantFrom([], ["tools" as const]),
    privacy: fc.constantFrom("local_only", "allow_remote"),
    complexity: fc.constantFrom(undefined, "low", "medium", "high"),
    model: fc.option(fc.constantFrom("mistral:7b", "absent"), { nil: undefined, freq: 4 }),
    preferred: fc.option(fc.constantFrom("mistral:7b", "llava:7b", "absent"), { nil: undefined }),
  })
  .map(request);

describe("chooseModel, for all inputs", () => {
  it("considers every candidate once, and has a failure exactly when the chain is empty", () => {
    fc.assert(
      fc.property(arbitraryRequest, fc.array(arbitraryCandidate, { maxLength: 8 }), (asked, candidates) => {
        const choice = chooseModel(asked, candidates);
        expect(choice.considered).toHaveLength(candidates.length);
        expect(choice.considered.filter(({ rejected }) => rejected === undefined)).toHaveLength(choice.chain.length);
        expect(choice.failure === undefined).toBe(choice.chain.length > 0);
        expect(choice.failure?.message).not.toBe("");
      }),
    );
  });

  it("never includes a model that can't serve or is not allowed", () => {
    fc.assert(
      fc.property(arbitraryRequest, fc.array(arbitraryCandidate, { maxLength: 8 }), (asked, candidates) => {
        for (const { candidate: chosen, reason } of chooseModel(asked, candidates).chain) {
          expect(asked.privacy === "allow_remote" || chosen.trust === "local").toBe(true);
          expect(chosen.fits).not.toBe("no");
          expect(chosen.coolDown).toBeUndefined();
          expect(chosen.contextTokens).toBeGreaterThanOrEqual(Math.floor(asked.promptTokens / 2));
          expect(chosen.capabilities).toContain(asked.task === "embedding" ? "embedding" : "completion");
          expect(reason).not.toBe("");
        }
      }),
    );
  });

  it("orders distinct models independently of their input order", () => {
    const distinct = fc.uniqueArray(arbitraryCandidate, { maxLength: 8, selector: ({ model }) => model });
    fc.assert(
      fc.property(arbitraryRequest, distinct, (asked, candidates) => {
        expect(order(asked, candidates.toReversed())).toEqual(order(asked, candidates));
      }),
    );
  });
});
