/**
 * Writes `engine-lock/<platform>/`: for each supported platform what `npm ci --omit=optional --ignore-scripts` needs to
 * install the embedded engine (package.json, package-lock.json without addresses), and `size.json` with the measured
 * sizes. Run it after changing `engineVersion`: `npx tsx scripts/engine-locks.ts`. Downloads every package once (about
 * 800 MB, most of it for CUDA) and checks it against the locks.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createLog } from "../src/orchestrator/api/log.ts";
import { tarballAddress, unpackPackage } from "../src/orchestrator/engines/llama-cpp/install/install-packages.ts";
import { type LockedPackage, lockedPackages } from "../src/orchestrator/engines/llama-cpp/install/lock.ts";
import {
  binaryPackages,
  currentPlatform,
  engineVersion,
} from "../src/orchestrator/engines/llama-cpp/install/platform.ts";
import { createRegistryHttp, readRegistrySettings } from "../src/orchestrator/engines/llama-cpp/install/registry.ts";

const locks = fileURLToPath(new URL("../engine-lock/", import.meta.url));
const work = await mkdtemp(join(tmpdir(), "engine-locks-"));
const npm = process.platform === "win32" ? "npm.cmd" : "npm";

const log = createLog("info", (line) => console.error(line));
const registry = await readRegistrySettings(process.env, currentPlatform(), log);
const client = await createRegistryHttp(registry, log);
/** Integrity → sizes; most packages are the same on every platform. */
const measured = new Map<string, { readonly bytes: number; readonly unpackedBytes: number }>();

try {
  for (const [platform, binaries] of Object.entries(binaryPackages)) {
    const folder = join(work, platform);
    await mkdir(folder);
    await writeFile(join(folder, "package.json"), manifest(platform, binaries));
    const flags = ["--package-lock-only", "--omit=optional", "--ignore-scripts", "--omit-lockfile-registry-resolved"];
    // --force: npm refuses other platforms' packages as direct dependencies, also with --os and --cpu.
    await promisify(execFile)(npm, ["install", ...flags, "--force", "--no-audit", "--no-fund"], {
      cwd: folder,
      shell: process.platform === "win32",
    });
    await writeFile(join(folder, "size.json"), await sizes(folder));
    await rm(join(locks, platform), { recursive: true, force: true });
    for (const file of ["package.json", "package-lock.json", "size.json"]) {
      await cp(join(folder, file), join(locks, platform, file));
    }
  }
} finally {
  await client.close();
  await rm(work, { recursive: true, force: true });
}

function manifest(platform: string, binaries: readonly string[]): string {
  const names = [...binaries, "node-llama-cpp"].toSorted();
  const dependencies = Object.fromEntries(names.map((name) => [name, engineVersion]));
  const text = { name: `ollm-engine-${platform}`, version: engineVersion, private: true, dependencies };
  return `${JSON.stringify(text, undefined, 2)}\n`;
}

async function sizes(folder: string): Promise<string> {
  const { packages } = JSON.parse(await readFile(join(folder, "package-lock.json"), "utf8")) as {
    packages: Parameters<typeof lockedPackages>[0];
  };
  const size = { downloadBytes: 0, installedBytes: 0, packages: {} as Record<string, number> };
  for (const entry of lockedPackages(packages)) {
    const { bytes, unpackedBytes } = measured.get(entry.integrity) ?? (await measure(entry));
    measured.set(entry.integrity, { bytes, unpackedBytes });
    size.downloadBytes += bytes;
    size.installedBytes += unpackedBytes;
    size.packages[entry.path] = bytes;
  }
  const count = Object.keys(size.packages).length;
  console.error(
    `${basename(folder)}: ${count} packages, ${size.downloadBytes} bytes to download, ${size.installedBytes} unpacked`,
  );
  return `${JSON.stringify(size, undefined, 2)}\n`;
}

async function measure(
  entry: Omit<LockedPackage, "bytes">,
): Promise<{ readonly bytes: number; readonly unpackedBytes: number }> {
  const address = tarballAddress(registry, entry);
  const response = await client.get(new URL(address), {}, AbortSignal.timeout(300_000));
  if (response.status !== 200) throw new Error(`${entry.path}: the registry answered ${response.status}`);
  const archive = join(work, "package.tgz");
  await writeFile(archive, response.body);
  const content = await readFile(archive);
  const sum = `sha512-${createHash("sha512").update(content).digest("base64")}`;
  if (sum !== entry.integrity)
    throw new Error(`${entry.path}: the registry serves something else than its document says`);
  const unpacked = join(work, "unpacked");
  const unpackedBytes = await unpackPackage({ ...entry, bytes: content.byteLength }, archive, unpacked);
  await rm(unpacked, { recursive: true });
  return { bytes: content.byteLength, unpackedBytes };
}
