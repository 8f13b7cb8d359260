import { describe, expect, it } from "vitest";
import { createMemoryDomain } from "../../../src/orchestrator/memory/domain.ts";

describe("a memory domain", () => {
  it("adds up what loads in progress have set aside", () => {
    const domain = createMemoryDomain("local");
    domain.reserve("ollama/a", 100);
    domain.reserve("llama-cpp/b", 30);
    expect(domain.reservedBytes()).toBe(130);
  });

  it("leaves out the load that is being planned", () => {
    const domain = createMemoryDomain("local");
    domain.reserve("ollama/a", 100);
    domain.reserve("llama-cpp/b", 30);
    expect(domain.reservedBytes("ollama/a")).toBe(30);
  });

  it("releases once, however often it is told to", () => {
    const domain = createMemoryDomain("local");
    const release = domain.reserve("ollama/a", 100);
    domain.reserve("ollama/a", 7);
    release();
    release();
    expect(domain.reservedBytes()).toBe(7);
  });
});
