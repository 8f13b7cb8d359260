import { openClientStreams } from "../ipc/client-streams.ts";
import { shellFrontVariable } from "../ipc/shell-front.ts";
import { resolveHome, startFolder } from "../orchestrator/config/home.ts";
import { build } from "../ipc/version.ts";
import { runFront } from "./front/front.ts";
import { isServerCall } from "./front/server-flags.ts";

/**
 * The entry of `dist/cli.mjs`, which starts with every client. It contains the front, which is all that a stdio server
 * through the daemon needs; everything else is in other files of `dist/` and loaded on demand.
 */
const words = process.argv.slice(2);

/** Skips `program.ts`: a client waits, and each file takes a millisecond to load. */
async function startStandalone(given: readonly string[]): Promise<void> {
  await (await import("../server/daemon/start-standalone.ts")).startStandalone(given, () => import("./program.ts"));
}

// `getBuiltinModule` instead of imports, which take a tenth of a millisecond or two each.
if (isServerCall(words, () => process.getBuiltinModule("tty").isatty(0))) {
  const isForShell = process.env[shellFrontVariable] !== undefined;
  delete process.env[shellFrontVariable];
  const userHome = process.getBuiltinModule("os").homedir();
  await runFront({
    words,
    workingDirectory: startFolder(userHome),
    home: resolveHome(process.env, userHome),
    program: { folder: import.meta.dirname, version: build },
    node: process.execPath,
    environment: process.env,
    isForShell,
    say: (text) => void process.stderr.write(`ollm: ${text}\n`),
    loadRescue: async () => (await import("./front/rescue.ts")).rescue,
    serveStandalone: () => startStandalone(["--standalone", ...words]),
    openStreams: openClientStreams,
    exit: (code) => process.exit(code),
  });
} else if (words.includes("--standalone")) {
  await startStandalone(words);
} else {
  await (await import("./program.ts")).runProgram(words);
}
