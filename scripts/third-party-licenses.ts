import type { Metafile } from "esbuild";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/**
 * The licences of every package whose code is in the bundle, as they ask to be passed on. `root` is the folder that the
 * metafiles' paths are relative to. Throws for a package that names no licence at all.
 */
export async function thirdPartyLicenses(metafiles: readonly Metafile[], root: string): Promise<string> {
  const inBundle = metafiles
    .flatMap((metafile) => Object.values(metafile.outputs))
    .flatMap(({ inputs }) => Object.keys(inputs));
  const folders = new Set(
    // Modules that a plugin makes up have a prefix, and stand in front of a real one.
    inBundle
      .filter((path) => !/^[\w-]{2,}:/.test(path))
      .flatMap((path) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(path)?.[0] ?? []),
  );
  const sections = await Promise.all([...folders].toSorted().map((folder) => section(join(root, folder))));
  return `The bundle contains code of these packages.\n\n${sections.join("\n\n")}\n`;
}

async function section(folder: string): Promise<string> {
  const { name, version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as {
    readonly name: string;
    readonly version: string;
    readonly license?: string;
  };
  const files = (await readdir(folder)).filter((file) => /^(licen[cs]e|copying|notice)/i.test(file)).toSorted();
  if (license === undefined && files.length === 0) throw new Error(`${name} ${version} names no licence`);
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), "utf8")));
  return [
    `${"-".repeat(80)}\n${name} ${version} (${license ?? "see below"})`,
    ...texts.map((text) => text.trim()),
  ].join("\n\n");
}
