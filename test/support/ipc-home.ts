import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { acceptConnection, type AcceptedConnection } from "../../src/ipc/handshake.ts";

/** A temporary home that doesn't exist yet, with links resolved. `remove` deletes the folder that contains it. */
export function temporaryHome(): { readonly home: string; remove(): void } {
  const folder = realpathSync(mkdtempSync(path.join(tmpdir(), "ollm-ipc-")));
  return { home: path.join(folder, "home"), remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** A server that introduces itself like a daemon of `home`. */
export function introducingServer(
  home: string,
  onAccepted: (connection: AcceptedConnection, socket: Socket) => void = ({ welcome }) => welcome({ ok: true }),
): Server & { readonly refused: string[] } {
  const refused: string[] = [];
  const server = createServer((socket) => {
    acceptConnection(socket, { home, version: "1.0.0+a", pid: process.pid, timeoutMs: 2_000 }).then(
      (connection) => onAccepted(connection, socket),
      (error: unknown) => void refused.push(error instanceof Error ? error.message : String(error)),
    );
  });
  return Object.assign(server, { refused });
}
