import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { InvalidConfig, StoreFailed } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";
import { replaceFile } from "../storage/replace-file.ts";
import { type ParsedYaml, parseYaml } from "../util/parse-yaml.ts";
import { type Sources, type Tree, formatPath, isTree } from "./paths.ts";

/** Far more than all settings need. */
export const maxConfigBytes = 256 * 1024;
const useDefaults = advice("move the file away to start with the defaults");

/** The file's text, "" when there is no file. Throws `InvalidConfig`. */
export async function readConfigText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if (isMissing(error)) return "";
    throw new InvalidConfig(`${file} can't be read: ${error instanceof Error ? error.message : String(error)}`, {
      next: [advice("make it readable"), useDefaults],
      cause: error,
    });
  }
}

/**
 * Replaces the file atomically, readable only by its user; follows a link. Throws `StoreFailed` and leaves the file
 * unchanged.
 */
export async function writeConfigText(file: string, text: string): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    await replaceFile(file, text, { mode: 0o600 });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StoreFailed(`nothing was changed: ${file} can't be written: ${reason}`, {
      next: advice("free some disk space, or make the folder writable"),
      cause: error,
    });
  }
}

/**
 * The settings of the file, an empty tree when there is no file. Adds each value's line to `sources`. Throws
 * `InvalidConfig`.
 */
export async function readConfigFile(file: string, sources: Sources): Promise<Tree> {
  return parseConfigText(await readConfigText(file), file, sources);
}

/** Like `readConfigFile`, for a text that may not be in `file` yet. A key without a value is not set. */
export async function parseConfigText(text: string, file: string, sources: Sources): Promise<Tree> {
  const parsed = await parseYaml(text, maxConfigBytes);
  if ("problem" in parsed) {
    const where = parsed.line === undefined ? file : `${file}:${parsed.line}:`;
    throw new InvalidConfig(`${where} ${parsed.problem}`, {
      next: [{ step: "editSettings" }, useDefaults],
    });
  }
  if (parsed.value === null || parsed.value === undefined) return {};
  if (!isTree(parsed.value)) {
    throw new InvalidConfig(`${file} contains no settings: expected lines such as "privacy: local_only"`, {
      next: [{ step: "editSettings" }, useDefaults],
    });
  }
  await noteLines(parsed, file, sources);
  return withoutNulls(parsed.value);
}

async function noteLines(
  { document, lines }: Extract<ParsedYaml, { readonly value: unknown }>,
  file: string,
  sources: Sources,
): Promise<void> {
  const { isAlias, isMap, isNode, isScalar } = await import("yaml");
  const note = (node: unknown, path: readonly string[], depth: number): void => {
    if (isNode(node) && node.range) sources.set(formatPath(path), `${file}:${lines.linePos(node.range[0]).line}`);
    const map = isAlias(node) ? node.resolve(document) : node;
    // Settings nest less deeply; the values of an alias share one line.
    if (!isMap(map) || depth > 8) return;
    for (const { key, value } of map.items) {
      if (!isScalar(key)) continue;
      // The key's line, which is where people look for a block.
      const own = [...path, String(key.value)];
      note(value ?? key, own, depth + 1);
      if (key.range) sources.set(formatPath(own), `${file}:${lines.linePos(key.range[0]).line}`);
    }
  };
  note(document.contents, [], 0);
}

/** Removes keys without a value: people comment out a section's lines and leave its name. */
function withoutNulls(tree: Tree): Tree {
  return Object.fromEntries(
    Object.entries(tree)
      .filter(([, value]) => value !== null)
      .map(([key, value]) => [key, isTree(value) ? withoutNulls(value) : value]),
  );
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}
