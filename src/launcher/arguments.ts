/** Stands in the manifest before the folders that the user chose. */
const foldersFollow = "--folders";

/**
 * The server's arguments for those of the bundle's manifest: `--folders A B` becomes `--root A --root B`, since a client
 * can only put a list's items side by side. Left out, and named in `missing`, are folders that are gone. A placeholder that the client left as it is (`${user_config...}`) means none chosen.
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
