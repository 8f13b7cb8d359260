import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

/** Node's: the file to which a process appends its warnings, instead of writing them to stderr. */
export const warningsVariable = "NODE_REDIRECT_WARNINGS";

const leak = "MaxListenersExceededWarning";
const found: string[] = [];
const folder = mkdtempSync(join(tmpdir(), "ollm-warnings-"));
const file = join(folder, "warnings.log");

// A setup file, so once per test file, which has a process of its own. What that process starts inherits the variable.
process.env[warningsVariable] = file;
process.on("warning", (warning) => {
  if (warning.name === leak) found.push(warning.stack ?? warning.message);
});

/** Takes the warnings from what a process wrote that doesn't get the variable: the log of a daemon. */
export function noteWarnings(log: string): void {
  found.push(...log.split("\n").filter((line) => line.includes(leak)));
}

/** A listener that is added for each call and never removed leaks; Node says so at the eleventh. */
afterAll(async () => {
  // The event of a warning comes a tick later.
  await new Promise((resolve) => setImmediate(resolve));
  noteWarnings(readIfThere());
  rmSync(folder, { recursive: true, force: true });
  if (found.length > 0)
    throw new Error(`listeners leak, here or in a process that was started here:\n${found.join("\n")}`);
});

function readIfThere(): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
