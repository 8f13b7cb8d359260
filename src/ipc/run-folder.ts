import { mkdirSync, realpathSync } from "node:fs";
import { join } from "node:path";

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
