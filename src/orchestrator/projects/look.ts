import { opendir } from "node:fs/promises";
import path from "node:path";
import { isTree } from "./tree.ts";
import { readSmall } from "./read-small.ts";
import type { FolderListing } from "./detect.ts";

/** Names in a folder beyond these are not looked at: signs of a project stand among few. */
const maxEntries = 5_000;
const maxPackageBytes = 1024 ** 2;

/** What `detect` judges, of a folder that can be read; at most 5,000 names, and `package.json` up to 1 MiB. */
export async function lookAt(folder: string): Promise<FolderListing> {
  const files = new Set<string>();
  const folders = new Set<string>();
  const entries = await opendir(folder);
  for await (const entry of entries) {
    // A link may be either.
    if (entry.isFile() || entry.isSymbolicLink()) files.add(entry.name);
    if (entry.isDirectory()) folders.add(entry.name);
    if (files.size + folders.size >= maxEntries) break;
  }
  const hasWorkspaces = files.has("package.json") && declaresWorkspaces(await packageText(folder));
  return { files, folders, hasWorkspaces };
}

async function packageText(folder: string): Promise<string | undefined> {
  const read = await readSmall(path.join(folder, "package.json"), folder, maxPackageBytes);
  return "text" in read ? read.text : undefined;
}

/** Arrays, and the object of older yarn. A file that is no JSON declares nothing. */
function declaresWorkspaces(text: string | undefined): boolean {
  if (text === undefined) return false;
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return false;
  }
  const workspaces = isTree(parsed) ? parsed["workspaces"] : undefined;
  if (Array.isArray(workspaces)) return workspaces.length > 0;
  return isTree(workspaces) && Array.isArray(workspaces["packages"]);
}
