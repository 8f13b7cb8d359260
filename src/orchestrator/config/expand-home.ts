import { join, normalize, parse } from "node:path";

/**
 * `~` and `~/x` with the home folder in the tilde's place; other paths as they are. Clients hand on what stands in their
 * JSON, and no shell has done it before.
 */
export function expandHome(given: string, homeFolder: string): string {
  return /^~(?=$|[\\/])/.test(given) ? join(homeFolder, given.slice(1)) : given;
}

/**
 * Whether a folder that was given as `written` is a whole disk without saying so: `/` is also what `$UNSET/` or a
 * relative folder comes to in a client that starts its servers in `/`. `/.` and `C:\` say it. `absolute` is resolved.
 */
export function isWholeDiskBySlip(written: string, absolute: string): boolean {
  return parse(absolute).root === normalize(absolute) && !/^(?:[\\/]+\.|[a-z]:[\\/]+\.?)$/i.test(written);
}
