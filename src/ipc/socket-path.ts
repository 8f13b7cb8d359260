import { chmodSync, lstatSync, mkdirSync, realpathSync } from "node:fs";
import type { Server } from "node:net";
import { join } from "node:path";
import { sha256 } from "@noble/hashes/sha2.js";
import { DaemonUnavailable } from "../orchestrator/api/errors.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import { randomHex } from "./exclusive-file.ts";

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
  try {
    return realpathSync(home);
  } catch {
    return home;
  }
}
