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
