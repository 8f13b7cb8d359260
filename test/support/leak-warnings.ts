import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

/** Node's variable for the file to which a process appends its warnings, instead of writing them to stderr. */
export const warningsVariable = "NODE_REDIRECT_WARNINGS";

const leak = "MaxListenersExceededWarning";
const found: string[] = [];
const folder = mkdtempSync(join(tmpdir(), "ollm-warnings-"));
const file = join(folder, "warnings.log");

// Runs once per test file, which has its own process. Processes that it starts inherit the variable.
process.env[warningsVariable] = file;
process.on("warning", (warning) => {
  if (warning.name === leak) found.push(warning.stack ?? warning.message);
});

/** Records the warnings in the log of a daemon, which doesn't get the variable. */
export function noteWarnings(log: string): void {
  found.push(...log.split("\n").filter((line) => line.includes(leak)));
}

/** A listener that is added by each call and never removed is a leak; Node warns at the eleventh. */
afterAll(async () => {
  // Node emits a warning one tick later.
  await new Promise((resolve) => setImmediate(resolve));
  noteWarnings(readIfThere());
  rmSync(folder, { recursive: true, force: true });
  if (found.length > 0)
    throw new Error(`listeners leak, in this process or in one that it started:\n${found.join("\n")}`);
});

function readIfThere(): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
