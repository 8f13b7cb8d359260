import type { PlatformPath } from "node:path";

/** Files and folders that mark a project, whose files may be read. */
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

/** Whether `file` is `folder` or inside it. Both must be absolute and resolved (`realpath`); the disk is not accessed. */
export function isInside(folder: string, file: string, path: PlatformPath): boolean {
  const relative = path.relative(folder, file);
  if (relative === "") return true;
  // On Windows a path on another drive stays absolute.
  return !path.isAbsolute(relative) && relative !== ".." && !relative.startsWith(`..${path.sep}`);
}

/**
 * A file's name for a model: relative to its root, with `/`, so that answers don't reveal where the root is. With several
 * roots the name starts with the shortest tail of its root's path that is unique. `file` must be inside one of them.
 */
export function nameInRoots(file: string, roots: readonly string[], path: PlatformPath): string {
  const outermost = roots.filter((root) => !roots.some((other) => other !== root && isInside(other, root, path)));
  const own = outermost.findIndex((root) => isInside(root, file, path));
  const root = outermost[own];
  if (root === undefined) return path.basename(file);
  const name = partsOf(path.relative(root, file)).join("/");
  if (outermost.length === 1) return name;
  const ways = outermost.map(partsOf);
  const longest = Math.max(...ways.map((way) => way.length));
  const labelsOf = (count: number) => ways.map((way) => way.slice(-count).join("/"));
  let labels = labelsOf(1);
  for (let count = 2; count <= longest && !areApart(labels); count += 1) labels = labelsOf(count);
  return `${labels[own]}/${name}`;
}

function partsOf(path: string): readonly string[] {
  return path.split(/[\\/]/).filter((part) => part !== "");
}

/** Whether no label equals or is a parent of another: `a` and `a/b` could both begin the name of `a/b/c`. */
function areApart(labels: readonly string[]): boolean {
  return labels.every((label, index) =>
    labels.every((other, at) => at === index || !`${other}/`.startsWith(`${label}/`)),
  );
}

/** Whether a folder is too broad to be a project: a drive's root, the home folder, or a folder above it. */
export function isTooBroad(folder: string, homeDirectory: string, path: PlatformPath): boolean {
  return path.parse(folder).root === folder || isInside(folder, homeDirectory, path);
}

/**
 * Whether `file` is on a Windows share that holds none of `folders`. Even a look at it would connect to a machine that the
 * caller chose, and send it this user's credentials.
 */
export function isForeignShare(file: string, folders: readonly string[], path: PlatformPath): boolean {
  const shareOf = (name: string) => path.parse(path.normalize(name)).root.toLowerCase();
  if (path.sep !== "\\" || !shareOf(file).startsWith("\\\\")) return false;
  return !folders.some((folder) => shareOf(folder) === shareOf(file));
}

/** Why no file can have this name: NUL, and on Windows devices, pipes and streams. Undefined for a usable name. */
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
