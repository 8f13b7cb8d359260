import { existsSync } from "node:fs";
import path from "node:path";
import { formatBytes } from "../../orchestrator/util/format-bytes.ts";
import { advice, type NextSteps } from "../../orchestrator/api/next-step.ts";
import { pressureWarnings } from "../../orchestrator/memory/pressure.ts";
import { type Checker, fail, ok, warn } from "./check.ts";

/** As `engines` in package.json. */
const oldestNode = { major: 20, minor: 19 };
/** Room for a medium-sized model. */
const littleDiskBytes = 5e9;
/** Room for the embedded engine alone. */
const noDiskBytes = 0.5e9;

/** Checks the Node that runs this program, which setup also writes into the entries of clients. */
export const checkNode: Checker = async ({ io, runtime }) => {
  const { nodeVersion, isElectron } = runtime;
  const [major = 0, minor = 0] = nodeVersion.replace(/^v/, "").split(".").map(Number);
  const text = `${nodeVersion} at ${io.node}`;
  if (major < oldestNode.major || (major === oldestNode.major && minor < oldestNode.minor)) {
    return [
      fail("node", text, advice(`install Node ${oldestNode.major}.${oldestNode.minor} or newer from nodejs.org`)),
    ];
  }
  if (isElectron) {
    return [
      warn(
        "node",
        `${text}, part of an application; the embedded engine requires a Node of its own`,
        advice("install Node from nodejs.org"),
      ),
    ];
  }
  return [ok("node", text)];
};

/** Checks the free space on the disk of the model store. */
export const checkDisk: Checker = async ({ home, settings, freeBytes }) => {
  const folder = path.resolve(settings.store.path ?? path.join(home, "models"));
  const free = await freeBytes(nearestFolder(folder));
  const text = `${formatBytes(free)} free for models in ${folder}`;
  const next: NextSteps = [
    { step: "deleteModel" },
    { step: "changeSetting", setting: "store.path", to: "FOLDER" },
    advice("free some disk space"),
  ];
  if (free < noDiskBytes) return [fail("disk", text, next)];
  return [free < littleDiskBytes ? warn("disk", text, next) : ok("disk", text)];
};

function nearestFolder(folder: string): string {
  const parent = path.dirname(folder);
  return existsSync(folder) || parent === folder ? folder : nearestFolder(parent);
}

/** Checks the available memory. Too little is a warning only: the daemon unloads models or reports what would fit. */
export const checkMemory: Checker = async ({ memory, settings, daemon }) => {
  const { totalBytes, availableBytes, ...pressure } = await memory();
  const text = `${formatBytes(availableBytes)} of ${formatBytes(totalBytes)} available`;
  const { bufferBytes } = settings.memory;
  const loaded = daemon.status?.loaded.map(({ name }) => name) ?? [];
  if (availableBytes < bufferBytes) {
    const reserved = `${formatBytes(bufferBytes)} are always left free (memory.bufferBytes)`;
    return loaded.length > 0
      ? [warn("memory", `${text}; loaded: ${loaded.join(", ")}`, { step: "unloadModel" })]
      : [warn("memory", `${text}; ${reserved}`, advice("close other programs or use smaller models"))];
  }
  const slow = pressureWarnings(pressure);
  if (slow.length > 0) return [warn("memory", [text, ...slow].join("; "), advice("close other programs"))];
  return [ok("memory", text)];
};
