import type { Check, Checker, DoctorWorld } from "./check.ts";

/**
 * Runs all checks side by side and keeps their order. One that throws or exceeds `boundMs` is itself a finding: a doctor
 * that hangs, or dies of what it should tell, is none.
 */
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
      const message = `no answer within ${boundMs / 1000} s`;
      resolve([{ name, status: "fail", message, hint: "Is a network drive gone, or the machine out of memory?" }]);
      // After the finding: what a check says when it is cut off comes too late.
      abort.abort();
    }, boundMs);
  });
  try {
    return await Promise.race([checker(world, abort.signal), bound]);
  } catch (error) {
    const message = `could not be checked: ${error instanceof Error ? error.message : String(error)}`;
    return [{ name, status: "fail", message, hint: "The message names what stands in the way." }];
  } finally {
    clearTimeout(timer);
  }
}
