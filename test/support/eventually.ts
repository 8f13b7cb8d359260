import { vi } from "vitest";

/**
 * Calls `holds` until it no longer throws, and returns its result. Fails after ten seconds, which allows for a busy
 * machine.
 */
export function eventually<Result>(holds: () => Result | Promise<Result>): Promise<Result> {
  return vi.waitFor(holds, { timeout: 10_000, interval: 20 });
}
