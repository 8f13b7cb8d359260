import { join, resolve } from "node:path";
import { expandHome } from "./expand-home.ts";

/** The working directory; `userHome` when it was deleted, which makes `process.cwd()` throw. */
export function startFolder(userHome: string): string {
  try {
    return process.cwd();
  } catch {
    return userHome;
  }
}

/**
 * `OLLM_HOME`, or `.ollm` in the user's home folder, as an absolute path. A relative path is resolved against
 * `workingDirectory`, by default this process's. Separate from the settings, because the front needs nothing else.
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
