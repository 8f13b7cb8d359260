import { existsSync } from "node:fs";
import path from "node:path";
import { formatBytes } from "../../orchestrator/text/format-bytes.ts";
import { type Checker, fail, ok, warn } from "./check.ts";

/** Of `engines` in package.json. */
const oldestNode = { major: 20, minor: 19 };
/** A model of the usual size with its download beside it. */
const littleDiskBytes = 5e9;
/** Not even the embedded engine fits. */
const noDiskBytes = 0.5e9;

/** The Node that runs us, which is also the one that set-up writes into clients. */
export const checkNode: Checker = async ({ io, runtime }) => {
  const { nodeVersion, isElectron } = runtime;
  const [major = 0, minor = 0] = nodeVersion.replace(/^v/, "").split(".").map(Number);
  const text = `${nodeVersion} at ${io.node}`;
  if (major < oldestNode.major || (major === oldestNode.major && minor < oldestNode.minor)) {
    return [fail("node", text, `Install Node ${oldestNode.major}.${oldestNode.minor} or newer from nodejs.org.`)];
  }
  if (isElectron) {
    return [
      warn(
        "node",
        `${text}, inside an application`,
        "Install Node from nodejs.org: the embedded engine needs a real one.",
      ),
    ];
  }
  return [ok("node", text)];
};

/** Free space where models lie. */
export const checkDisk: Checker = async ({ home, settings, freeBytes }) => {
  const folder = path.resolve(settings.store.path ?? path.join(home, "models"));
  const free = await freeBytes(nearestFolder(folder));
  const text = `${formatBytes(free)} free for models in ${folder}`;
  const hint = "Free some space, delete models you don't use (ollm rm), or set store.path to another disk.";
  if (free < noDiskBytes) return [fail("disk", text, hint)];
  return [free < littleDiskBytes ? warn("disk", text, hint) : ok("disk", text)];
};

function nearestFolder(folder: string): string {
  const parent = path.dirname(folder);
  return existsSync(folder) || parent === folder ? folder : nearestFolder(parent);
}

/** What a model could have now. Little of it is no failure: the daemon makes room, or says what would fit. */
export const checkMemory: Checker = async ({ memory, settings, daemon }) => {
  const { totalBytes, availableBytes, swapUsedBytes } = await memory();
  const swap = swapUsedBytes > 0 ? `, ${formatBytes(swapUsedBytes)} of swap used` : "";
  const text = `${formatBytes(availableBytes)} of ${formatBytes(totalBytes)} available${swap}`;
  const { bufferBytes } = settings.memory;
  const loaded = daemon.status?.loaded.map(({ name }) => name) ?? [];
  if (availableBytes < bufferBytes) {
    const hint =
      loaded.length > 0
        ? `Loaded now: ${loaded.join(", ")}; ollm unload --all gives their memory back.`
        : `${formatBytes(bufferBytes)} stay free beside every load (memory.bufferBytes): close programs, or use small models.`;
    return [warn("memory", text, hint)];
  }
  if (swapUsedBytes > totalBytes / 4) {
    return [warn("memory", text, "The machine swaps: models answer slowly until other programs give memory back.")];
  }
  return [ok("memory", text)];
};
