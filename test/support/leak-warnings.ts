import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, vi } from "vitest";
import { noteWarning, noteWarnings, takeWarnings, warningsVariable } from "./leaks.ts";

const folder = mkdtempSync(join(tmpdir(), "ollm-warnings-"));
const file = join(folder, "warnings.log");

const listeners = (["SIGINT", "SIGTERM", "SIGHUP"] as const).map(
  (signal) => [signal, process.listeners(signal)] as const,
);

// Runs once per test file, also where files share a process. Processes that it starts inherit the variable.
process.env[warningsVariable] = file;
process.on("warning", noteWarning);

/** A listener that is added by each call and never removed is a leak; Node warns at the eleventh. */
afterAll(async () => {
  // Node emits a warning one tick later.
  await new Promise((resolve) => setImmediate(resolve));
  process.off("warning", noteWarning);
  leaveAsFound();
  noteWarnings(readIfThere());
  rmSync(folder, { recursive: true, force: true });
  const found = takeWarnings();
  if (found.length > 0)
    throw new Error(`listeners leak, in this process or in one that it started:\n${found.join("\n")}`);
});

/** The next file may run in this process. A command listens to signals until its process ends, which no test's does. */
function leaveAsFound(): void {
  vi.useRealTimers();
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  for (const [signal, known] of listeners) {
    for (const each of process.listeners(signal)) if (!known.includes(each)) process.off(signal, each);
  }
}

function readIfThere(): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
