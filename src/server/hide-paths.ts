import path from "node:path";
import type { OpenHome, ServerParts } from "./server-parts.ts";
import { isInside } from "./paths.ts";

/** Stands for a path of the server's machine. */
const hidden = "[a path on the server]";

/** Absolute paths of any platform; between quotes they may have spaces. An address (`http://`) and `a/b` are none. */
const absolutePaths =
  /(?<=")(?:\/(?=[^/\s"])|~[\\/]|[A-Za-z]:[\\/]|\\\\)[^"\n]*(?=")|(?<![\w.:/\\~@-])(?:\/(?=[\w.~-])|~[\\/]|[A-Za-z]:[\\/]|\\\\(?=\w))[^\s"'`<>()[\]{},;|]*/g;

/**
 * A text for a caller that may be on another machine: of absolute paths only those inside its roots and those that it
 * gave itself are left.
 */
export function hidePaths(
  text: string,
  {
    roots,
    home,
    given,
  }: { readonly roots: readonly string[]; readonly home?: string; readonly given: ReadonlySet<string> },
): string {
  // Advice names our own files; where their folder lies is left out.
  const ours = home === undefined ? text : text.replaceAll(home, "OLLM_HOME");
  return ours.replaceAll(absolutePaths, (found, at: number) => {
    const bare = found.replace(/[.:]+$/, "");
    const isKnown =
      given.has(found) ||
      given.has(bare) ||
      roots.some((root) => isInside(root, path.normalize(bare), path) || startsWithFolder(ours, at, root));
    return isKnown ? found : `${hidden}${found.slice(bare.length)}`;
  });
}

/** A folder with a space in its name is longer than the path that was found. */
function startsWithFolder(text: string, at: number, folder: string): boolean {
  if (!/\s/.test(folder) || !text.startsWith(folder, at)) return false;
  const rest = /^[^\s"']*/.exec(text.slice(at + folder.length))?.[0] ?? "";
  return (rest === "" || /^[\\/.,:;)]/.test(rest)) && !/[\\/]\.\.(?:[\\/]|$)/.test(rest);
}

/** How texts are shown to the caller of one request: over HTTP, where it may be on another machine, without its paths. */
export function textFor(parts: ServerParts, home: OpenHome | undefined, given: unknown): (text: string) => string {
  if (parts.caller.mayOfferRoots) return (text) => text;
  const known = { roots: home?.fileRoots ?? [], given: textsIn(given) };
  return (text) => hidePaths(text, home === undefined ? known : { ...known, home: path.dirname(home.configFile) });
}

/** Every text among a call's arguments. */
export function textsIn(value: unknown, found = new Set<string>()): ReadonlySet<string> {
  if (typeof value === "string") found.add(value);
  else if (typeof value === "object" && value !== null) for (const each of Object.values(value)) textsIn(each, found);
  return found;
}

/** Plain data with the texts under `error`, at any depth, as `change` makes them. */
export function withErrors(value: unknown, change: (text: string) => string): unknown {
  if (Array.isArray(value)) return value.map((each) => withErrors(each, change));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [
      key,
      key === "error" && typeof each === "string" ? change(each) : withErrors(each, change),
    ]),
  );
}
