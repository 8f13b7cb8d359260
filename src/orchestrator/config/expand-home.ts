import { join, normalize, parse } from "node:path";

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
