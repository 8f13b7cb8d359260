import { mkdirSync, realpathSync } from "node:fs";
import { join } from "node:path";

/** Where the processes of one home meet: claims, sockets, token, the daemon's own copy of the program. */
export function runFolder(home: string): string {
  return join(home, "run");
}

/** The secret that proves to one process of a home that another may read it: 64 hexadecimal digits, mode 0600. */
export function tokenFile(home: string): string {
  return join(runFolder(home), "token");
}

/** The bearer token of HTTP callers; another than the one on the socket, because it is copied into clients. */
export function httpTokenFile(home: string): string {
  return join(runFolder(home), "http-token");
}

/** What the daemon says that nobody sees: its stderr. */
export function daemonLogFile(home: string): string {
  return join(home, "logs", "daemon.log");
}

/** A line for each call of a tool: time, client, tool, model, duration, outcome. */
export function callLogFile(home: string): string {
  return join(home, "logs", "calls.log");
}

/** Makes the run folder of a home that may not exist yet, for its user alone. */
export function ensureRunFolder(home: string): string {
  const folder = runFolder(home);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}

/** The home with links resolved, so that two names of one folder mean one daemon; as given while it doesn't exist. */
export function realHome(home: string): string {
  try {
    return realpathSync(home);
  } catch {
    return home;
  }
}
