import { mkdir } from "node:fs/promises";
import { PullFailed } from "../../../errors.ts";
import { reportLock, type LockedPackage } from "./lock.ts";

/** Sources for building llama.cpp (35 MB of 76), type declarations and source maps: never read at run time. */
function isNeeded(packageName: string, path: string): boolean {
  if (packageName === "node-llama-cpp" && path === "llama/gitRelease.bundle") return false;
  return !/\.(?:d\.[cm]?ts|map)$/.test(path);
}

/**
 * Unpacks one verified package into its own folder. Only plain files and folders below that folder are accepted:
 * anything else (links, `..`, absolute names, Windows drives) refuses the package with `PullFailed`, even though its
 * checksum was right. Modes and owners of the archive are ignored. Returns the bytes written.
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
      if (!("type" in found)) throw new Error("tar hands entries to the filter when it extracts");
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
    throw new PullFailed(`${entry.name} ${entry.version} holds an entry that may not be unpacked: ${refused}`, {
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
