import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import type { Server } from "node:net";
import { join } from "node:path";
import { sha256 } from "@noble/hashes/sha2.js";
import { DaemonUnavailable } from "../orchestrator/api/errors.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import { codeOf, orUndefined } from "../orchestrator/util/values.ts";

/** Node silently cuts longer ones: 107 bytes on Linux, 103 on macOS. */
const maxSocketPathBytes = 100;

/**
 * A new socket path for the daemon of `home` (links resolved): in its run folder, or, if that is too long, in a folder
 * below /tmp that only this user can access; the name of a pipe on Windows. Never in the temporary folder of the
 * environment: clients start us with different ones.
 */
export function freshSocketPath(home: string, platform: NodeJS.Platform = process.platform): string {
  const name = randomHex(4);
  if (platform === "win32") return `\\\\.\\pipe\\ollm-${shortHash(home)}-${name}`;
  const path = join(runFolder(home), `${name}.sock`);
  return Buffer.byteLength(path) <= maxSocketPathBytes ? path : sharedSocketPath(home);
}

/** A new socket path outside the home; throws `DaemonUnavailable` when others can access the folder below /tmp. */
function sharedSocketPath(home: string): string {
  return join(sharedFolder(process.getuid?.() ?? 0), `${shortHash(home)}-${randomHex(4)}.sock`);
}

/**
 * Listens at a new path and returns it: at `freshSocketPath`, else outside the home, whose file system may not support
 * sockets (exFAT, folders shared by a virtual machine). Rejects with the system's error.
 */
export async function listenFresh(server: Server, home: string): Promise<string> {
  const first = freshSocketPath(home);
  try {
    await listen(server, first);
    return first;
  } catch (error) {
    if (process.platform === "win32" || !first.startsWith(runFolder(home))) throw error;
    const second = sharedSocketPath(home);
    await listen(server, second);
    return second;
  }
}

/** A closed server can listen again: its connections stay open. */
function listen(server: Server, socket: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => {
      server.off("listening", onListening);
      reject(error);
    };
    const onListening = (): void => {
      server.off("error", onError);
      if (process.platform !== "win32") chmodSync(socket, 0o600);
      resolve();
    };
    server.once("error", onError);
    server.once("listening", onListening);
    server.listen(socket);
  });
}

function shortHash(home: string): string {
  return Buffer.from(sha256(Buffer.from(home)))
    .toString("hex")
    .slice(0, 12);
}

function sharedFolder(uid: number): string {
  const folder = `/tmp/ollm-${uid}`;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const facts = lstatSync(folder);
  // Every user may create folders in /tmp, also with our name.
  if (!facts.isDirectory() || facts.uid !== uid || (facts.mode & 0o077) !== 0) {
    throw new DaemonUnavailable(`${folder} belongs to another user, or others can access it`, {
      next: [advice("remove it"), { step: "setHome", to: "a shorter path" }],
    });
  }
  return folder;
}

/** The folder that the processes of a home share: claims, sockets, tokens, the daemon's copy of the program. */
export function runFolder(home: string): string {
  return join(home, "run");
}

/** The secret that proves to another process of the home that we can read it: 64 hexadecimal digits, mode 0600. */
export function tokenFile(home: string): string {
  return join(runFolder(home), "token");
}

/** The bearer token of HTTP callers. It differs from the socket's token, because it is copied into clients' settings. */
export function httpTokenFile(home: string): string {
  return join(runFolder(home), "http-token");
}

/** The port of the dashboard, and whether a page of it was open when the last daemon ended. */
export function dashboardFile(home: string): string {
  return join(runFolder(home), "dashboard.json");
}

/** The daemon's log: its stderr. */
export function daemonLogFile(home: string): string {
  return join(home, "logs", "daemon.log");
}

/** One line for each tool call: time, client, tool, model, duration, outcome. */
export function callLogFile(home: string): string {
  return join(home, "logs", "calls.log");
}

/** Creates the run folder, and the home if it doesn't exist, accessible for this user only. */
export function ensureRunFolder(home: string): string {
  const folder = runFolder(home);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}

/** The home with links resolved, so that two paths of one folder mean one daemon; unchanged while it doesn't exist. */
export function realHome(home: string): string {
  return orUndefined(() => realpathSync(home)) ?? home;
}

/**
 * Creates a file that must not exist yet, atomically: of several processes exactly one gets `true`, and no reader sees
 * half of it. Mode 0600.
 */
export function createExclusively(path: string, content: string): boolean {
  const temporary = `${path}.${randomHex(6)}.new`;
  try {
    writeFileSync(temporary, content, { mode: 0o600, flag: "wx" });
    linkSync(temporary, path);
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (code === "EEXIST") return false;
    // File systems without hard links (exFAT, some network mounts): exclusive too, but not atomic.
    if (code === "EPERM" || code === "ENOSYS" || code === "ENOTSUP" || code === "EOPNOTSUPP" || code === "EMLINK") {
      return writeExclusively(path, content);
    }
    throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
}

function writeExclusively(path: string, content: string): boolean {
  try {
    writeFileSync(path, content, { mode: 0o600, flag: "wx" });
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    throw error;
  }
}

/** Far more than a claim or a token needs. */
const maxBytes = 256 * 1024;
/** Opening a FIFO would wait for a writer. Windows has neither. */
const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/** Reads a small file in the run folder. Throws the system's error, and for all but small regular files. */
export function readOwnFile(path: string): string {
  const descriptor = openSync(path, flags);
  try {
    const facts = fstatSync(descriptor);
    if (!facts.isFile() || facts.size > maxBytes) throw new Error(`${path} is not a file that ollm wrote`);
    return readFileSync(descriptor, "utf8");
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Random hexadecimal digits, two a byte, from the system's source. `node:crypto` is used only where there is no such
 * device: loading it takes a tenth of a front's start.
 */
export function randomHex(bytes: number): string {
  const buffer = Buffer.alloc(bytes);
  let read = 0;
  try {
    const device = openSync("/dev/urandom", "r");
    try {
      read = readSync(device, buffer, 0, bytes, null);
    } finally {
      closeSync(device);
    }
  } catch {
    read = 0; // Windows
  }
  if (read !== bytes) process.getBuiltinModule("crypto").randomFillSync(buffer);
  return buffer.toString("hex");
}
