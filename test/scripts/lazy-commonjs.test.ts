import { build } from "esbuild";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { lazyCommonJs } from "../../scripts/lazy-commonjs.ts";

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-lazy-commonjs-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

// picomatch exports one function and no names, yaml many names, zod is no CommonJS at all.
test.each(["picomatch", "yaml", "zod"])("a lazily loaded %s has the same names bundled and unbundled", async (name) => {
  const outdir = join(folder, name);
  await build({
    stdin: { contents: `export const load = () => import("${name}");`, resolveDir: process.cwd() },
    outdir,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    plugins: [lazyCommonJs],
    banner: { js: "const require = (id) => process.getBuiltinModule(id);" },
  });
  const { load } = (await import(pathToFileURL(join(outdir, "stdin.mjs")).href)) as { load(): Promise<object> };
  const names = (module: object): readonly string[] =>
    Object.keys(module)
      .filter((key) => key !== "module.exports" && key !== "__esModule")
      .toSorted();
  expect(names(await load())).toEqual(names((await import(name)) as object));
});
