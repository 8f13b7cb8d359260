import { join, resolve } from "node:path";
import { expandHome } from "./expand-home.ts";

/** Where this process was started; `userHome` when that folder has been deleted since: `process.cwd()` throws then. */
export function startFolder(userHome: string): string {
  try {
    return process.cwd();
  } catch {
    return userHome;
  }
}

/**
 * `OLLM_HOME`, or `.ollm` in the user's home folder. Absolute; a relative one counts from `workingDirectory`, which
 * defaults to this process's. Apart from the settings, because the front reads nothing else of them.
 */
export function resolveHome(
  environment: Readonly<Record<string, string | undefined>>,
  userHome: string,
  workingDirectory = startFolder(userHome),
): string {
  const given = environment["OLLM_HOME"];
  if (given === undefined || given.trim() === "") return join(userHome, ".ollm");
  return resolve(workingDirectory, expandHome(given, userHome));
}
