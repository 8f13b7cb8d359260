/** The name of something in a git repository in place of a file's: `git:staged`, `app/git:diff:main`. */
export interface GitName {
  /** The folder before it; absent: the caller's repository. */
  readonly folder?: string;
  /** The rest, from `git:` on. */
  readonly source: string;
}

/** Splits the name of a git source; undefined for the name of a file. */
export function splitGitName(name: string): GitName | undefined {
  // A REF may contain slashes; of other names only the last part may begin with `git:`.
  const found = /^(?:(.*?)[\\/])?(git:(?:(?:staged|diff|log|show)(?::.*)?|[^\\/]*))$/su.exec(name);
  if (found === null) return undefined;
  const [, folder, source = ""] = found;
  if (folder === undefined) return { source };
  // `/git:staged` is that of the root folder.
  return { folder: folder === "" ? "/" : folder, source };
}
