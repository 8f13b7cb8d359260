/** Node's variable for the file to which a process appends its warnings, instead of writing them to stderr. */
export const warningsVariable = "NODE_REDIRECT_WARNINGS";

const leak = "MaxListenersExceededWarning";

/** Warnings of the test file that runs. Apart from the setup file, which runs anew for each test file. */
const found: string[] = [];

export function noteWarning(warning: Error): void {
  if (warning.name === leak) found.push(warning.stack ?? warning.message);
}

/** Records the warnings in the log of a daemon, which doesn't get the variable. */
export function noteWarnings(log: string): void {
  found.push(...log.split("\n").filter((line) => line.includes(leak)));
}

export function takeWarnings(): readonly string[] {
  return found.splice(0);
}
