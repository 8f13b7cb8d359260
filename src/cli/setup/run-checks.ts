import { advice } from "../../orchestrator/api/next-step.ts";
import { type Check, type Checker, type DoctorWorld, fail } from "./check.ts";

/** Runs all checks concurrently and keeps their order. A check that throws or exceeds `boundMs` is reported as failed. */
export async function runChecks(
  checkers: Readonly<Record<string, Checker>>,
  world: DoctorWorld,
  boundMs: number,
): Promise<readonly Check[]> {
  const found = await Promise.all(
    Object.entries(checkers).map(([name, checker]) => bounded(name, checker, world, boundMs)),
  );
  return found.flat();
}

async function bounded(name: string, checker: Checker, world: DoctorWorld, boundMs: number): Promise<readonly Check[]> {
  const abort = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const bound = new Promise<readonly Check[]>((resolve) => {
    timer = setTimeout(() => {
      resolve([
        fail(name, `no result within ${boundMs / 1000} s`, advice("look for a lost network drive or low memory")),
      ]);
      // Only now: the rejection of an aborted check must not win the race.
      abort.abort();
    }, boundMs);
  });
  try {
    return await Promise.race([checker(world, abort.signal), bound]);
  } catch (error) {
    const message = `the check failed: ${error instanceof Error ? error.message : String(error)}`;
    return [fail(name, message, advice("fix what the message names"))];
  } finally {
    clearTimeout(timer);
  }
}
