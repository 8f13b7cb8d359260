import { join, normalize, parse, resolve } from "node:path";
import { orUndefined } from "../util/values.ts";

/** The working directory; `userHome` when it was deleted, which makes `process.cwd()` throw. */
export function startFolder(userHome: string): string {
  return orUndefined(() => process.cwd()) ?? userHome;
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

/**
 * Replaces a leading `~` with the home folder; other paths stay the same. Paths in a client's JSON have not passed
 * through a shell.
 */
export function expandHome(given: string, homeFolder: string): string {
  return /^~(?=$|[\\/])/.test(given) ? join(homeFolder, given.slice(1)) : given;
}

/**
 * Whether a folder given as `written` is a whole disk by mistake: `$UNSET/` also becomes `/`, as does a relative folder
 * in a client that starts its servers in `/`. `/.` and `C:\` are deliberate. `absolute` is resolved.
 */
export function isAccidentalWholeDisk(written: string, absolute: string): boolean {
  return parse(absolute).root === normalize(absolute) && !/^(?:[\\/]+\.|[a-z]:[\\/]+\.?)$/i.test(written);
}
