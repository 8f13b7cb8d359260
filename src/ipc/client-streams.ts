import { fstatSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";

/**
 * Our standard streams. Pipes are opened as sockets, which costs less than `process.stdin` and `process.stdout`. Called
 * once, when there is a client to serve.
 */
export function openClientStreams(): { readonly input: Readable; readonly output: Writable } {
  return {
    input: isPipe(0) ? new Socket({ fd: 0, readable: true, writable: false }) : process.stdin,
    output: isPipe(1) ? new Socket({ fd: 1, readable: false, writable: true }) : process.stdout,
  };
}

function isPipe(descriptor: number): boolean {
  try {
    const facts = fstatSync(descriptor);
    return facts.isFIFO() || facts.isSocket();
  } catch {
    return false;
  }
}
