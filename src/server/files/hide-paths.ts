import path from "node:path";
import { isInside } from "../../orchestrator/util/file-name.ts";

/** Replaces a path of the server's machine. */
const hidden = "[a path on the server]";

/** Absolute paths of any platform; in quotes they may have spaces. URLs (`http://`) and `a/b` don't match. */
const absolutePaths =
  /(?<=")(?:\/(?=[^/\s"])|~[\\/]|[A-Za-z]:[\\/]|\\\\)[^"\n]*(?=")|(?<![\w.:/\\~@-])(?:\/(?=[\w.~-])|~[\\/]|[A-Za-z]:[\\/]|\\\\(?=\w))[^\s"'`<>()[\]{},;|]*/g;

/**
 * Hides absolute paths in a text for a caller that may be on another machine, except those inside its roots and those
 * that it sent itself.
 */
export function hidePaths(
  text: string,
  {
    roots,
    home,
    given,
  }: { readonly roots: readonly string[]; readonly home?: string; readonly given: ReadonlySet<string> },
): string {
  // Next steps name files of our home: its own path is replaced first.
  const ours = home === undefined ? text : text.replaceAll(home, "OLLM_HOME");
  return ours.replaceAll(absolutePaths, (found, at: number) => {
    const bare = found.replace(/[.:]+$/, "");
    const isKnown =
      given.has(found) ||
      given.has(bare) ||
      roots.some((root) => isInside(root, path.normalize(bare)) || startsWithFolder(ours, at, root));
    return isKnown ? found : `${hidden}${found.slice(bare.length)}`;
  });
}

/** Whether `folder`, whose name has a space and so was matched only in part, is at `at`. */
function startsWithFolder(text: string, at: number, folder: string): boolean {
  if (!/\s/.test(folder) || !text.startsWith(folder, at)) return false;
  const rest = /^[^\s"']*/.exec(text.slice(at + folder.length))?.[0] ?? "";
  return (rest === "" || /^[\\/.,:;)]/.test(rest)) && !/[\\/]\.\.(?:[\\/]|$)/.test(rest);
}

/** The function that prepares texts for the caller of one request: over HTTP it hides paths of this machine. */
export function textFor(
  caller: { readonly mayOfferRoots: boolean },
  home: { readonly fileRoots: readonly string[]; readonly configFile: string } | undefined,
  given: unknown,
): (text: string) => string {
  if (caller.mayOfferRoots) return (text) => text;
  const known = { roots: home?.fileRoots ?? [], given: textsIn(given) };
  return (text) => hidePaths(text, home === undefined ? known : { ...known, home: path.dirname(home.configFile) });
}

/** Every text in a call's arguments, at any depth. */
export function textsIn(value: unknown, found = new Set<string>()): ReadonlySet<string> {
  if (typeof value === "string") found.add(value);
  else if (typeof value === "object" && value !== null) for (const each of Object.values(value)) textsIn(each, found);
  return found;
}

/** A copy of plain data with `change` applied to every text under a key `error`, at any depth. */
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
