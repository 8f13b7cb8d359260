import { formatPath } from "./paths.ts";

/** Settings as they stand in a file, before the schema has seen them. */
export type Tree = { [key: string]: unknown };
/**
 * `formatPath` of a value to where it came from: `OLLM_MODEL`, `--host`, `/home/me/.ollm/config.yaml:3`. What nobody set
 * is missing. Sections have their line too.
 */
export type Sources = Map<string, string>;

export function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Sets a value, making the branches it hangs on; what was known of the old value's parts is forgotten. */
export function put(tree: Tree, path: readonly string[], value: unknown, source: string, sources: Sources): void {
  let node = tree;
  for (const key of path.slice(0, -1)) {
    const next = Object.hasOwn(node, key) ? node[key] : undefined;
    if (isTree(next)) node = next;
    else node = node[key] = {};
  }
  node[path.at(-1) ?? ""] = value;
  const name = formatPath(path);
  for (const key of sources.keys()) {
    if (key.startsWith(`${name}.`) || key.startsWith(`${name}[`)) sources.delete(key);
  }
  sources.set(name, source);
}

/** The value at a path, items of lists by their number; undefined where there is none. */
export function at(tree: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((node, key) => {
    if (Array.isArray(node)) return (node as readonly unknown[])[Number(key)];
    return isTree(node) && Object.hasOwn(node, key) ? node[key] : undefined;
  }, tree);
}
