import path from "node:path";

const byNumber = new Intl.Collator("en", { numeric: true }).compare;

/**
 * Folders in which version managers (nvm, fnm, Volta, mise, asdf, scoop, Nix) install Node, which are not on the PATH of
 * a program started from a desktop. Of several versions the newest comes first. `list` returns a folder's entries, none
 * when it doesn't exist.
 */
export function nodeFolders(machine: {
  readonly platform: NodeJS.Platform;
  readonly userHome: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  list(folder: string): readonly string[];
}): readonly string[] {
  const { platform, userHome, environment } = machine;
  const { join } = platform === "win32" ? path.win32 : path.posix;
  const versionsIn = (folder: string, ...below: readonly string[]): readonly string[] =>
    machine
      .list(folder)
      .filter((name) => /^v?\d+(\.\d+)*$/.test(name))
      .toSorted((a, b) => byNumber(b.replace(/^v/, ""), a.replace(/^v/, "")))
      .map((name) => join(folder, name, ...below));

  if (platform === "win32") {
    const roaming = environment["APPDATA"] ?? join(userHome, "AppData", "Roaming");
    const local = environment["LOCALAPPDATA"] ?? join(userHome, "AppData", "Local");
    return [
      ...(environment["NVM_SYMLINK"] === undefined ? [] : [environment["NVM_SYMLINK"]]),
      ...versionsIn(environment["NVM_HOME"] ?? join(roaming, "nvm")),
      ...versionsIn(join(roaming, "fnm", "node-versions"), "installation"),
      join(local, "Volta", "bin"),
      join(userHome, "scoop", "apps", "nodejs", "current"),
    ];
  }
  const data = environment["XDG_DATA_HOME"] ?? join(userHome, ".local", "share");
  return [
    ...versionsIn(join(environment["NVM_DIR"] ?? join(userHome, ".nvm"), "versions", "node"), "bin"),
    ...[join(data, "fnm"), join(userHome, "Library", "Application Support", "fnm"), join(userHome, ".fnm")].flatMap(
      (fnm) => versionsIn(join(fnm, "node-versions"), "installation", "bin"),
    ),
    join(userHome, ".volta", "bin"),
    ...versionsIn(join(data, "mise", "installs", "node"), "bin"),
    ...versionsIn(join(environment["ASDF_DATA_DIR"] ?? join(userHome, ".asdf"), "installs", "nodejs"), "bin"),
    join(userHome, ".nix-profile", "bin"),
    "/run/current-system/sw/bin",
  ];
}

/** In the manifest, precedes the folders that the user chose. */
const foldersFollow = "--folders";

/**
 * The server's arguments for those of the bundle's manifest: `--folders A B` becomes `--root A --root B`, because a
 * client can only insert the items of a list one after the other. Folders that don't exist are left out and returned in
 * `missing`. A placeholder that the client did not replace (`${user_config...}`) means that none was chosen.
 */
export function serverArguments(
  words: readonly string[],
  isFolder: (path: string) => boolean,
): { readonly arguments: readonly string[]; readonly missing: readonly string[] } {
  const at = words.indexOf(foldersFollow);
  if (at < 0) return { arguments: words, missing: [] };
  const folders = words.slice(at + 1).filter((word) => word.trim() !== "" && !word.startsWith("${"));
  return {
    arguments: [...words.slice(0, at), ...folders.filter(isFolder).flatMap((folder) => ["--root", folder])],
    missing: folders.filter((folder) => !isFolder(folder)),
  };
}
