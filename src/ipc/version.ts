import { readFileSync } from "node:fs";

/** Replaced by the bundler; absent when the source runs unbundled (tsx, tests). */
declare const OLLM_VERSION: string | undefined;
declare const OLLM_BUILD: string | undefined;

/** The version of package.json, as shown to clients and in `ollm --version`. */
export const version: string =
  typeof OLLM_VERSION === "string"
    ? OLLM_VERSION
    : (JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }).version;

/** Version and sources, `0.1.0+3f9a1c2b7d10`: what tells an upgrade of one version's own development apart. */
export const build: string = typeof OLLM_BUILD === "string" ? OLLM_BUILD : `${version}+source`;

/**
 * Whether a front of build `own` asks a daemon of build `theirs` to hand over: for a later version, or another build of
 * the same version. Builds have no order, so only a front that `isStarting` counts its own as later: otherwise two
 * clients with different builds would take the home from each other. Unbundled sources have no build and never ask.
 */
export function isUpgrade(own: string, theirs: string, isStarting: boolean): boolean {
  const [ownVersion = "", ownBuild = ""] = own.split("+");
  const [theirVersion = "", theirBuild = ""] = theirs.split("+");
  const order = ownVersion === theirVersion ? 0 : compareVersions(ownVersion, theirVersion);
  if (order !== 0) return order > 0;
  return isStarting && ownBuild !== theirBuild && ownBuild !== "source" && theirBuild !== "source";
}

/** Compares by Semantic Versioning 2.0.0: negative when `a` precedes `b`. */
function compareVersions(a: string, b: string): number {
  const { compare } = new Intl.Collator("en", { numeric: true });
  const [aCore = "", aTail = ""] = a.split(/-(.*)/);
  const [bCore = "", bTail = ""] = b.split(/-(.*)/);
  // A pre-release precedes its release.
  if (aTail === "" || bTail === "") return compare(aCore, bCore) || Number(aTail === "") - Number(bTail === "");
  return compare(aCore, bCore) || compare(aTail, bTail);
}
