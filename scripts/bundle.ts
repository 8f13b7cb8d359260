/**
 * `npm run bundle`: packs `ollm-mcp-VERSION.mcpb`, the one file that a desktop client installs with a click: the program,
 * the launcher that finds a Node for it, and a manifest. Validated against the format's own schema; nothing is fetched.
 */
import { packExtension, validateManifest } from "@anthropic-ai/mcpb";
import { build } from "esbuild";
import { copyFile, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { tools } from "../src/tools/index.ts";
import { buildAll } from "./build.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Packs into `folder` and answers the bundle's path. Throws when the manifest is not valid. */
export async function packBundle(folder: string): Promise<string> {
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { readonly version: string };
  const content = await mkdtemp(join(tmpdir(), "ollm-bundle-"));
  try {
    // Into a folder of its own: `dist/` may hold chunks of earlier builds.
    await buildAll(join(content, "dist"));
    await build({
      entryPoints: [join(root, "src/launcher/main.ts")],
      outfile: join(content, "launcher.mjs"),
      bundle: true,
      format: "esm",
      platform: "node",
      // Older than the server's minimum, so that the launcher can report the required version.
      target: "node18",
      logLevel: "warning",
    });
    const manifest = JSON.parse(await readFile(join(root, "bundle/manifest.json"), "utf8")) as object;
    const told = tools.map(({ name, description }) => ({ name, description }));
    const manifestFile = join(content, "manifest.json");
    await writeFile(manifestFile, `${JSON.stringify({ ...manifest, version, tools: told }, undefined, 2)}\n`);
    await copyFile(join(root, "bundle/icon.png"), join(content, "icon.png"));
    for (const name of ["LICENSE", "README.md", "CHANGELOG.md"]) await copyFile(join(root, name), join(content, name));
    // Left out by default, and what the embedded engine is installed from.
    await writeFile(join(content, ".mcpbignore"), "!package-lock.json\n");

    const bundle = join(folder, `ollm-mcp-${version}.mcpb`);
    const isPacked =
      validateManifest(manifestFile) &&
      (await packExtension({ extensionPath: content, outputPath: bundle, silent: true }));
    if (!isPacked) throw new Error("bundle/manifest.json is not valid; what is wrong with it stands above");
    return bundle;
  } finally {
    await rm(content, { recursive: true, force: true });
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const bundle = await packBundle(root);
  console.log(`${bundle}: ${((await stat(bundle)).size / 1e6).toFixed(2)} MB`);
}
