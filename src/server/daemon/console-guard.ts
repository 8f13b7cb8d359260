import { Console } from "node:console";

/** Sends console output to stderr, so that no dependency can print to stdout, which belongs to the protocol. */
export function redirectConsole(): void {
  globalThis.console = new Console({ stdout: process.stderr, stderr: process.stderr });
}
