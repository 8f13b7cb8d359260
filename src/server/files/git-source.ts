import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";

/** What is read of a repository. A `ref` is unverified; `diff` without one compares with the index. */
export type GitSource =
  | { readonly kind: "staged" }
  | { readonly kind: "diff"; readonly ref?: string }
  | { readonly kind: "log"; readonly count: number }
  | { readonly kind: "show"; readonly ref: string };

export const maxCommits = 200;
const maxRefLength = 250;

/** The forms of a git source, for errors. */
const forms = "git:staged, git:diff, git:diff:REF, git:log:N and git:show:REF";

/** Parses `git:...`. Throws `InvalidRequest` for an unknown form, a count that is out of range, and an unusable REF. */
export function parseGitSource(source: string): GitSource {
  const [, kind = "", given] = /^git:([^:]*)(?::(.*))?$/su.exec(source) ?? [];
  if (kind === "staged" && given === undefined) return { kind };
  if (kind === "diff") return given === undefined ? { kind } : { kind, ref: checkedRef(source, given) };
  if (kind === "show" && given !== undefined) return { kind, ref: checkedRef(source, given) };
  if (kind === "log" && given !== undefined) return { kind, count: countOf(source, given) };
  throw new InvalidRequest(`${shown(source)} is not known`, { next: advice(`use one of ${forms}`) });
}

function countOf(source: string, given: string): number {
  const count = /^\d{1,9}$/.test(given) ? Number(given) : 0;
  if (count >= 1 && count <= maxCommits) return count;
  throw new InvalidRequest(`${shown(source)} needs a number of commits from 1 to ${maxCommits}`, {
    next: advice("use a form such as git:log:20"),
  });
}

/**
 * A branch, tag or commit with `~` and `^` behind it, or two of them joined by `..` or `...`. Never an option, nor what git
 * reads as something other than a commit: a path (`:`), a search (`{/text}`), an exclusion (`^main`).
 */
function checkedRef(source: string, ref: string): string {
  const problem =
    ref === ""
      ? "is empty"
      : ref.length > maxRefLength
        ? `is longer than ${maxRefLength} characters`
        : ref.split(/\.{2,3}/).some((part) => /^[-^~]/.test(part))
          ? "begins with a character that it can't begin with"
          : /[\s\p{Cc}:?*[\]\\{}]/u.test(ref)
            ? "has a character that it can't have"
            : ref.split(/\.{2,3}/).length > 2
              ? "has more than two parts"
              : undefined;
  if (problem === undefined) return ref;
  throw new InvalidRequest(`the REF of ${shown(source)} ${problem}`, {
    next: advice("name a branch, a tag or a commit, such as main, v1.2 or HEAD~1"),
  });
}

/** For a message, which is one line. */
function shown(source: string): string {
  return /[\p{Cc}\p{Zl}\p{Zp}]/u.test(source) || source.length > 100 ? JSON.stringify(source.slice(0, 100)) : source;
}
