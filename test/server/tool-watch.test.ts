import { describe, expect, it } from "vitest";
import { createToolWatch } from "../../src/server/mcp/change-feed.ts";

function setUp() {
  let names: readonly string[] = ["a", "b"];
  let told = 0;
  const watch = createToolWatch<string>(
    () => Promise.resolve(names),
    async () => void (told += 1),
  );
  return {
    watch,
    told: () => told,
    offer(now: readonly string[]) {
      names = now;
      return watch.changed();
    },
  };
}

describe("a client that has listed the tools", () => {
  it("is notified once per difference, and not of other callers' changes", async () => {
    const { watch, told, offer } = setUp();
    watch.listed(["a", "b"], "facts");
    await offer(["a", "b"]);
    expect(told()).toBe(0);
    await offer(["a"]);
    await offer(["a"]);
    expect(told()).toBe(1);
    await offer(["a", "b"]);
    expect(told()).toBe(2);
  });
});

describe("a client that has listed none", () => {
  it("is notified of each change: it may have listed them at an earlier daemon", async () => {
    const { told, offer } = setUp();
    await offer(["a"]);
    expect(told()).toBe(1);
  });
});
