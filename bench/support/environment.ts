import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The built command. */
export const command = fileURLToPath(new URL("../../dist/cli.mjs", import.meta.url));

/**
 * `PATH`, home folders and our own variables, in a temporary home that is removed afterwards. Nothing else: extra
 * certificate files alone cost a Node process 27 ms.
 */
export async function withCleanEnvironment<Result>(
  run: (environment: Record<string, string>) => Promise<Result>,
): Promise<Result> {
  const home = await mkdtemp(join(tmpdir(), "ollm-bench-"));
  try {
    return await run({
      PATH: process.env["PATH"] ?? "",
      HOME: home,
      OLLM_HOME: join(home, ".ollm"),
      // Windows doesn't start a process without it.
      ...(process.env["SystemRoot"] === undefined ? {} : { SystemRoot: process.env["SystemRoot"] }),
    });
  } finally {
    await rm(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}
