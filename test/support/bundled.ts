import { build } from "esbuild";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll } from "vitest";

/**
 * A program of the tests, as one file that Node runs by itself: to start it with tsx takes longer than most of them run.
 * Returns a function, since it exists from the first test of the file to the last.
 */
export function useBundled(source: URL): () => string {
  const parent = path.resolve("node_modules", ".cache", "ollm-test");
  let folder: string;
  let program: string;
  beforeAll(async () => {
    await mkdir(parent, { recursive: true });
    folder = await mkdtemp(path.join(parent, "program-"));
    program = path.join(folder, "program.mjs");
    await build({
      entryPoints: [fileURLToPath(source)],
      outfile: program,
      bundle: true,
      // Found from the folder, below `node_modules`.
      packages: "external",
      format: "esm",
      platform: "node",
      target: "node20",
      logLevel: "warning",
      define: { OLLM_VERSION: '"1.0.0"', OLLM_BUILD: '"1.0.0+test"' },
    });
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  return () => program;
}
