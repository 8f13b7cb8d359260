import { Console } from "node:console";

/** From now on nothing that a dependency prints can reach stdout, which belongs to the protocol. */
export function redirectConsole(): void {
  globalThis.console = new Console({ stdout: process.stderr, stderr: process.stderr });
}
