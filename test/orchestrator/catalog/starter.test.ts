import { describe, expect, it } from "vitest";
import { describeFromDatabase } from "../../../src/orchestrator/catalog/database.ts";
import { suggestStarter } from "../../../src/orchestrator/catalog/starter.ts";

const GB = 1e9;
const buffer = 2 * 1024 ** 3;

describe("suggestStarter", () => {
  it.each([
    [2.5, "smollm2:135m"],
    [3, "qwen2.5:0.5b"],
    [4, "qwen2.5:1.5b"],
    [6, "llama3.2:3b"],
    [8, "qwen2.5:7b"],
    [24, "qwen2.5:7b"],
    [60, "qwen3:14b"],
  ])("with %f GB available: %s", (available, name) => {
    expect(suggestStarter(available * GB, buffer).name).toBe(name);
  });

  it("has a reason with the numbers", () => {
    expect(suggestStarter(8 * GB, buffer).reason).toBe(
      "a 4.7 GB download that needs 6.8 GB of the 8.0 GB available, buffer included",
    );
  });

  it("names the smallest with the reason when nothing fits", () => {
    expect(suggestStarter(1 * GB, buffer)).toEqual({
      name: "smollm2:135m",
      reason: "the smallest known (271.0 MB); it needs 2.4 GB with memory.bufferBytes, and 1.0 GB are available",
    });
  });

  it("suggests larger models with a smaller buffer", () => {
    expect(suggestStarter(2.5 * GB, 0).name).toBe("llama3.2:3b");
  });

  it("suggests only chat models", () => {
    for (let available = 1; available < 100; available += 1) {
      expect(describeFromDatabase(suggestStarter(available * GB, buffer).name).entry?.capabilities).toContain(
        "completion",
      );
    }
  });
});
