import type { Plugin } from "esbuild";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const namespace = "lazy-commonjs";
const isInner = Symbol("resolved by this plugin");

/**
 * Makes `const { fetch } = await import("undici")` mean the same bundled and unbundled. Node shows a CommonJS module's
 * names on its namespace; esbuild, when it splits, only shows `default`, and every name is silently undefined. So a
 * lazily loaded CommonJS package gets a module in front of it that exports the names that Node finds.
 */
export const lazyCommonJs: Plugin = {
  name: namespace,
  setup(build) {
    build.onResolve({ filter: /^[^./]/ }, async ({ path, kind, resolveDir, importer, pluginData }) => {
      if (kind !== "dynamic-import" || pluginData === isInner) return undefined;
      const resolved = await build.resolve(path, { kind, resolveDir, importer, pluginData: isInner });
      if (resolved.external || resolved.errors.length > 0 || !(await isCommonJs(resolved.path))) return resolved;
      return { path: resolved.path, namespace, pluginData: { resolveDir } };
    });
    build.onLoad({ filter: /.*/, namespace }, async ({ path, pluginData }) => {
      const { resolveDir } = pluginData as { readonly resolveDir: string };
      const names = Object.keys((await import(pathToFileURL(path).href)) as object).filter(
        (name) => !["default", "__esModule", "module.exports"].includes(name),
      );
      const lines = [
        `import all from ${JSON.stringify(path)};`,
        ...names.map((name, index) => `const name${index} = all[${JSON.stringify(name)}];`),
        `export { all as default, ${names.map((name, index) => `name${index} as ${JSON.stringify(name)}`).join(", ")} };`,
      ];
      return { contents: lines.join("\n"), resolveDir, loader: "js" };
    });
  },
};

/** By content, since the bundler picks its file of a package by other rules than Node. */
async function isCommonJs(path: string): Promise<boolean> {
  if (/\.(mjs|mts|ts)$/.test(path)) return false;
  return !/^\s*(?:import|export)\b(?!\s*\()/m.test(await readFile(path, "utf8"));
}
