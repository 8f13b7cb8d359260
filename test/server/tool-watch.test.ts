import { describe, expect, it } from "vitest";
import { createLog } from "../../src/orchestrator/api/log.ts";
import { createToolWatch } from "../../src/server/call/detachable-run.ts";

function setUp() {
  let names: readonly string[] = ["a", "b"];
  let told = 0;
  const later: (() => void)[] = [];
  const watch = createToolWatch<string>({
    offered: () => Promise.resolve(names),
    tell: () => {
      told += 1;
      return Promise.resolve();
    },
    after(_delayMs, action) {
      later.push(action);
      return () => void later.splice(later.indexOf(action), 1);
    },
    log: createLog("silent", () => undefined),
  });
  /** Everything that waits for nothing but promises. */
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  return {
    watch,
    told: () => told,
    later,
    async offer(now: readonly string[], isCertain?: boolean) {
      names = now;
      watch.recheck(isCertain);
      await settled();
    },
    settled,
  };
}

describe("a client that has listed the tools", () => {
  it("is notified once per difference, and not of other changes", async () => {
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

  it("is notified a moment later when the change is not visible yet", async () => {
    const { watch, told, offer, later, settled } = setUp();
    watch.listed(["a", "b"], "facts");
    await offer(["a", "b"], true);
    expect(later).toHaveLength(1);
    const [again] = later;
    await offer(["a"]);
    again?.();
    await settled();
    expect(told()).toBe(1);
  });

  it("is not notified after its connection has closed", async () => {
    const { watch, told, offer } = setUp();
    watch.listed(["a", "b"], "facts");
    watch.close();
    await offer(["a"], true);
    expect(told()).toBe(0);
  });
});

describe("a client that has listed none", () => {
  it("is notified of a change of settings", async () => {
    const { told, offer } = setUp();
    await offer(["a"]);
    expect(told()).toBe(0);
    await offer(["a"], true);
    expect(told()).toBe(1);
  });
});
