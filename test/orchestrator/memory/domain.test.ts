import { describe, expect, it } from "vitest";
import { createMemoryDomain } from "../../../src/orchestrator/memory/state.ts";

describe("a memory domain", () => {
  it("sums the reservations of loads in progress", () => {
    const domain = createMemoryDomain("local");
    domain.reserve("ollama/a", { ramBytes: 100 });
    domain.reserve("llama-cpp/b", { ramBytes: 30 });
    expect(domain.reserved().ramBytes).toBe(130);
  });

  it("excludes the load that is being planned", () => {
    const domain = createMemoryDomain("local");
    domain.reserve("ollama/a", { ramBytes: 100 });
    domain.reserve("llama-cpp/b", { ramBytes: 30 });
    expect(domain.reserved("ollama/a").ramBytes).toBe(30);
  });

  it("releases a reservation only once", () => {
    const domain = createMemoryDomain("local");
    const release = domain.reserve("ollama/a", { ramBytes: 100 });
    domain.reserve("ollama/a", { ramBytes: 7 });
    release();
    release();
    expect(domain.reserved().ramBytes).toBe(7);
  });

  it("keeps reservations of each graphics card apart", () => {
    const domain = createMemoryDomain("local");
    domain.reserve("ollama/a", { ramBytes: 5, vramBytes: { left: 100 } });
    const release = domain.reserve("ollama/b", { ramBytes: 1, vramBytes: { left: 20, right: 3 } });
    expect(domain.reserved()).toEqual({ ramBytes: 6, vramBytes: { left: 120, right: 3 } });
    release();
    expect(domain.reserved()).toEqual({ ramBytes: 5, vramBytes: { left: 100 } });
  });
});
