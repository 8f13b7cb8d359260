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
