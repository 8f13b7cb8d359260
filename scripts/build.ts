/**
 * Bundles the program into `dist/`: the entries below with lazy chunks, so that nothing has to be installed beside the
 * package and a start reads no more than it runs; and `cli.mjs` with the front in a pass of its own, because it starts
 * with every client: as one small file it takes 1.3 times a bare Node program's start, with chunks 1.6.
 */
import { build, type BuildOptions, type Metafile, type Plugin } from "esbuild";
import { createHash, randomUUID } from "node:crypto";
import { chmod, cp, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join, relative, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { buildPages } from "./build-pages.ts";
import { lazyCommonJs } from "./lazy-commonjs.ts";
import { toolFacts } from "../src/tools/facts.ts";
import { thirdPartyLicenses } from "./third-party-licenses.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const outdir = join(root, "dist");

/** Name in `dist/` → source. */
const entries: Readonly<Record<string, string>> = {
  commands: "src/cli/program.ts",
  standalone: "src/server/daemon/standalone.ts",
  "front-rescue": "src/cli/front/rescue.ts",
  "engine-child": "src/orchestrator/engines/llama-cpp/child/main.ts",
  "gguf-child": "src/orchestrator/engines/gguf/child.ts",
  "bandwidth-worker": "src/orchestrator/memory/measure/bandwidth-worker.ts",
  "check-worker": "src/orchestrator/checks/check-worker.ts",
  "query-worker": "src/orchestrator/reading/query-worker.ts",
};

/** Several CommonJS dependencies call `require` for Node's own modules. */
const requireBanner = `import{createRequire as makeRequire}from"node:module";const require=makeRequire(import.meta.url);`;

/**
 * Builds everything into `folder` (`dist/`); throws when esbuild reports errors. Files are replaced one by one, chunks (named by
 * their content) before the entries that load them, so that no program starts from half a build. What an earlier build
 * left goes last: it would be packed.
 */
export async function buildAll(folder: string = outdir): Promise<Metafile> {
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string };
  const shared: BuildOptions & { metafile: true; write: false } = {
    write: false,
    absWorkingDir: root,
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    minify: true,
    // Collected in third-party-licenses.txt.
    legalComments: "none",
    metafile: true,
    logLevel: "warning",
    // jsonc-parser's UMD main breaks when bundled: prefer the ES build wherever there is one.
    mainFields: ["module", "main"],
    define: {
      OLLM_VERSION: JSON.stringify(version),
      OLLM_BUILD: JSON.stringify(`${version}+${await sourceHash()}`),
      __filename: "import.meta.filename",
      __dirname: "import.meta.dirname",
    },
  };
  const program = await build({
    ...shared,
    entryPoints: { ...entries },
    chunkNames: "chunks/[name]-[hash]",
    splitting: true,
    banner: { js: requireBanner },
    plugins: [lazyCommonJs, toolFactsAsData],
    alias: {
      // The SDK's default validator is ajv, a tenth of a standalone start. Its own lighter one takes its place.
      "@modelcontextprotocol/server/_shims": "./scripts/mcp-server-shims.ts",
      "raw-body": "./scripts/no-raw-body.ts",
    },
  });
  const cli = await build({
    ...shared,
    entryPoints: { cli: "src/cli/main.ts" },
    plugins: [siblingEntries, toolFactsAsData],
  });
  const outputFiles = [...program.outputFiles, ...cli.outputFiles];
  const metafile: Metafile = {
    inputs: { ...program.metafile.inputs, ...cli.metafile.inputs },
    outputs: { ...program.metafile.outputs, ...cli.metafile.outputs },
  };
  const isChunk = (path: string) => basename(dirname(path)) === "chunks";
  for (const { path, contents } of outputFiles.toSorted((a, b) => Number(isChunk(b.path)) - Number(isChunk(a.path)))) {
    await replaceFile(path, basename(path) === "cli.mjs" ? withShebang(contents) : contents);
  }
  const pages = (await buildPages(root)).map((page) => ({ ...page, path: join(folder, page.name) }));
  for (const { path, contents } of pages) await replaceFile(path, contents);
  const licenses = join(folder, "third-party-licenses.txt");
  await writeFile(licenses, await thirdPartyLicenses([metafile, ...pages.map((page) => page.metafile)], root));
  const copied = { "engine-lock": "engine-lock", completions: "src/cli/commands/completions" };
  for (const [name, from] of Object.entries(copied)) {
    await rm(join(folder, name), { recursive: true, force: true });
    await cp(join(root, from), join(folder, name), { recursive: true });
  }
  const sqlite = join(folder, "sql-wasm.wasm");
  await replaceFile(sqlite, await readFile(createRequire(import.meta.url).resolve("sql.js/dist/sql-wasm.wasm")));
  const copies = Object.keys(copied).map((name) => join(folder, name));
  await removeOthers(
    folder,
    new Set([...[...outputFiles, ...pages].map(({ path }) => path), licenses, ...copies, sqlite]),
  );
  return metafile;
}

/** What the front loads lazily is another entry's file beside it, never bundled into it. */
const siblingEntries: Plugin = {
  name: "sibling-entries",
  setup(pass) {
    pass.onResolve({ filter: /^\./ }, ({ kind, path, resolveDir }) => {
      const source = relative(root, join(resolveDir, path)).replaceAll(sep, "/");
      const entry = Object.entries(entries).find(([, file]) => file === source)?.[0];
      return kind === "dynamic-import" && entry !== undefined ? { path: `./${entry}.mjs`, external: true } : undefined;
    });
  },
};

/** A front and the shell know what they need of tools without their definitions. */
const toolFactsAsData: Plugin = {
  name: "tool-facts-as-data",
  setup(pass) {
    pass.onLoad({ filter: /[\\/]src[\\/]tools[\\/]facts\.ts$/ }, () => ({
      contents: `export const toolFacts = new Map(${JSON.stringify([...toolFacts])});`,
    }));
  },
};

const buildScripts = ["build", "build-pages", "lazy-commonjs", "mcp-server-shims"].map((name) => `scripts/${name}.ts`);

/** Tells two builds of one version apart, and nothing else: the same sources give the same name on every machine. */
async function sourceHash(): Promise<string> {
  const hash = createHash("sha256");
  const sources = (await readdir(join(root, "src"), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll(sep, "/"));
  for (const path of [...sources, "package-lock.json", ...buildScripts].toSorted()) {
    hash.update(`${path}\0`).update(await readFile(join(root, path)));
  }
  return hash.digest("hex").slice(0, 12);
}

/** npm's links and a shell run the command by its name. */
function withShebang(contents: Uint8Array): Uint8Array {
  const text = Buffer.from(contents).toString("utf8");
  return Buffer.from(text.startsWith("#!") ? text : `#!/usr/bin/env node\n${text}`);
}

/** Never leaves half a file under its name. Entries are executable: the command is run by its path on Unix. */
async function replaceFile(path: string, contents: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${randomUUID()}`;
  await writeFile(temporary, contents);
  await chmod(temporary, 0o755);
  await rename(temporary, path);
}

/** Files and folders below `folder` that are not kept and contain nothing that is. */
async function removeOthers(folder: string, kept: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (kept.has(path)) continue;
    if ([...kept].some((other) => other.startsWith(`${path}${sep}`))) await removeOthers(path, kept);
    else await rm(path, { recursive: true, force: true });
  }
}

/** One line per output file, largest first. */
function summary(metafile: Metafile): string {
  const outputs = Object.entries(metafile.outputs).toSorted(([, a], [, b]) => b.bytes - a.bytes);
  const lines = outputs.map(([path, { bytes, entryPoint }]) => {
    const name = path
      .split("/")
      .slice(path.includes("/chunks/") ? -2 : -1)
      .join("/");
    return `${(bytes / 1024).toFixed(1).padStart(9)} KB  ${name}${entryPoint === undefined ? "" : `  (${basename(entryPoint)})`}`;
  });
  const total = outputs.reduce((sum, [, { bytes }]) => sum + bytes, 0);
  return [...lines, `${(total / 1024).toFixed(1).padStart(9)} KB  in all`].join("\n");
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const metafile = await buildAll();
  // `npm run --silent build`, as the demo calls it, doesn't print the list.
  if (process.env["npm_config_loglevel"] !== "silent") console.log(summary(metafile));
}
