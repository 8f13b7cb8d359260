import { lstat } from "node:fs/promises";
import path from "node:path";
import { isTree } from "./tree.ts";
import { readSmall } from "./read-small.ts";
import { signNames, type FolderListing } from "./detect.ts";
import { parseJson } from "../util/parse-json.ts";

const maxPackageBytes = 1024 ** 2;

/** The input of `detect`. Looks up each name, because a folder may contain millions. Reads a `package.json` up to 1 MiB. */
export async function listFolder(folder: string): Promise<FolderListing> {
  const files = new Set<string>();
  const folders = new Set<string>();
  await Promise.all(
    signNames.map(async (name) => {
      const found = await lstat(path.join(folder, name)).catch(() => undefined);
      // A link counts as a file; its target is not read.
      if (found?.isFile() === true || found?.isSymbolicLink() === true) files.add(name);
      if (found?.isDirectory() === true) folders.add(name);
    }),
  );
  const hasWorkspaces = files.has("package.json") && declaresWorkspaces(await packageText(folder));
  return { files, folders, hasWorkspaces };
}

async function packageText(folder: string): Promise<string | undefined> {
  const read = await readSmall(path.join(folder, "package.json"), folder, maxPackageBytes);
  return "text" in read ? read.text : undefined;
}

/** Accepts arrays, and the object of older Yarn versions. False for a file that is not JSON. */
function declaresWorkspaces(text: string | undefined): boolean {
  if (text === undefined) return false;
  let parsed: unknown;
  try {
    parsed = parseJson(text);
  } catch {
    return false;
  }
  const workspaces = isTree(parsed) ? parsed["workspaces"] : undefined;
  if (Array.isArray(workspaces)) return workspaces.length > 0;
  return isTree(workspaces) && Array.isArray(workspaces["packages"]);
}
