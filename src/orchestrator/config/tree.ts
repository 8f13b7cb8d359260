import { formatPath } from "./paths.ts";

/** Settings as written in a file, not yet checked by the schema. */
export type Tree = { [key: string]: unknown };
/**
 * Sources by `formatPath` of the value: `OLLM_MODEL`, `--host`, `/home/me/.ollm/config.yaml:3`. Defaults have none;
 * sections have their line.
 */
export type Sources = Map<string, string>;

export function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Sets a value and its source, creating missing sections and dropping the sources of the old value's parts. */
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

/** The value at a path (list items by index); undefined where there is none. */
export function at(tree: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((node, key) => {
    if (Array.isArray(node)) return (node as readonly unknown[])[Number(key)];
    return isTree(node) && Object.hasOwn(node, key) ? node[key] : undefined;
  }, tree);
}
