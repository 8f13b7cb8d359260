import { vi } from "vitest";

/**
 * Asks again until `holds` throws no more, and hands on what it gives. Ten seconds are patience with a busy machine, not
 * a measurement: what never happens still fails.
 */
export function eventually<Result>(holds: () => Result | Promise<Result>): Promise<Result> {
  return vi.waitFor(holds, { timeout: 10_000, interval: 20 });
}
