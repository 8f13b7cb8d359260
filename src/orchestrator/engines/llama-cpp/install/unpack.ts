import { mkdir } from "node:fs/promises";
import { PullFailed } from "../../../api/errors.ts";
import { reportLock, type LockedPackage } from "./lock.ts";

/** False for sources of llama.cpp (35 MB of 76), type declarations and source maps, which are unused at run time. */
function isNeeded(packageName: string, path: string): boolean {
  if (packageName === "node-llama-cpp" && path === "llama/gitRelease.bundle") return false;
  return !/\.(?:d\.[cm]?ts|map)$/.test(path);
}

/**
 * Unpacks one verified package into its own folder and returns the bytes written. Accepts only plain files and folders
 * below that folder: throws `PullFailed` for anything else (links, `..`, absolute names, Windows drives), although the
 * checksum matched. Ignores modes and owners in the archive.
 */
export async function unpackPackage(entry: LockedPackage, file: string, folder: string): Promise<number> {
  const { extract } = await import("tar/extract");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  let refused: string | undefined;
  let bytes = 0;
  await extract({
    file,
    cwd: folder,
    strip: 1, // the archive's own top folder, usually `package/`
    preserveOwner: false,
    noMtime: true,
    filter: (path, found) => {
      if (!("type" in found)) throw new Error("tar passes entries to the filter when it extracts");
      refused ??= whyUnsafe(path, found.type);
      if (refused !== undefined) return false;
      found.mode = found.type === "Directory" ? 0o700 : 0o600;
      const isWanted = isNeeded(entry.name, path.slice(path.indexOf("/") + 1));
      if (isWanted) bytes += found.size;
      return isWanted;
    },
    onwarn: (_code, message) => {
      refused ??= message;
    },
  });
  if (refused !== undefined) {
    throw new PullFailed(`${entry.name} ${entry.version} contains an unsafe entry: ${refused}`, {
      next: reportLock,
    });
  }
  return bytes;
}

function whyUnsafe(path: string, type: string): string | undefined {
  if (!["File", "OldFile", "ContiguousFile", "Directory"].includes(type)) return `${path} is a ${type}`;
  const isOutside = path.split(/[\\/]/).includes("..");
  if (isOutside || /^[\\/]|^[a-z]:|\0|\\/i.test(path)) return `the name ${JSON.stringify(path)}`;
  return undefined;
}
