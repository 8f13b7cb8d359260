import { join } from "node:path";

/**
 * `~` and `~/x` with the home folder in the tilde's place; other paths as they are. Hosts hand on what stands in their
 * JSON, and no shell has done it before.
 */
export function expandHome(given: string, homeFolder: string): string {
  return /^~(?=$|[\\/])/.test(given) ? join(homeFolder, given.slice(1)) : given;
}
