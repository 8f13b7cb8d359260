import type { PlatformPath } from "node:path";

/** Files that make a folder a project: its files are what the user works on, so they may be read. */
export const projectMarkers: readonly string[] = [
  ".git",
  ".ollm",
  "package.json",
  "pyproject.toml",
  "Cargo.toml",
  "go.mod",
  "mkdocs.yml",
  "tsconfig.json",
  "docs",
];

/** Whether `file` is `folder` or lies below it. Both absolute and resolved (`realpath`); no file is touched. */
export function isInside(folder: string, file: string, path: PlatformPath): boolean {
  const relative = path.relative(folder, file);
  if (relative === "") return true;
  // On Windows a path on another drive stays absolute.
  return !path.isAbsolute(relative) && relative !== ".." && !relative.startsWith(`..${path.sep}`);
}

/** A folder that says nothing about a project: a drive's root, the home folder, or a folder above it. */
export function isTooBroad(folder: string, homeDirectory: string, path: PlatformPath): boolean {
  return path.parse(folder).root === folder || isInside(folder, homeDirectory, path);
}

/**
 * Whether `file` lies on a Windows share that holds none of `folders`. Merely looking there would connect to a machine
 * that somebody else named, and show it this user's credentials.
 */
export function isForeignShare(file: string, folders: readonly string[], path: PlatformPath): boolean {
  const shareOf = (name: string) => path.parse(path.normalize(name)).root.toLowerCase();
  if (path.sep !== "\\" || !shareOf(file).startsWith("\\\\")) return false;
  return !folders.some((folder) => shareOf(folder) === shareOf(file));
}

/** Why a name can't be a file's, before anything is opened: NUL, and on Windows devices, pipes and streams. */
export function unusableName(name: string, path: PlatformPath): string | undefined {
  if (name.includes("\0")) return "contains a NUL character";
  if (path.sep !== "\\") return undefined;
  if (/^[\\/]{2}[.?][\\/]/.test(name)) return "is a device path";
  const { root } = path.parse(name);
  if (name.slice(root.length).includes(":")) return "names an alternate data stream";
  const isDevice = /^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?$/i;
  const device = name
    .slice(root.length)
    .split(/[\\/]/)
    .find((part) => isDevice.test(part.trimEnd()));
  return device === undefined ? undefined : `names the device ${device}`;
}
