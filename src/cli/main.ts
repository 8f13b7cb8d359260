import { openClientStreams } from "../ipc/client-streams.ts";
import { resolveHome, startFolder } from "../orchestrator/config/home.ts";
import { build } from "../version.ts";
import { runFront } from "./front/front.ts";
import { isServerCall } from "./front/server-flags.ts";

/**
 * The entry of `dist/cli.mjs`, which starts with every client: a stdio server through the daemon needs nothing but the
 * front, which it holds. All else lies in other files of `dist/`, loaded when it is asked for.
 */
const words = process.argv.slice(2);

/** Not by way of the program: a client waits, and each file on the way takes a millisecond. */
async function startStandalone(given: readonly string[]): Promise<void> {
  await (await import("../server/start-standalone.ts")).startStandalone(given, () => import("./program.ts"));
}

// Modules that a start needs seldom are asked for where they are: each import takes a tenth of a millisecond or two.
if (isServerCall(words, () => process.getBuiltinModule("tty").isatty(0))) {
  const userHome = process.getBuiltinModule("os").homedir();
  await runFront({
    words,
    workingDirectory: startFolder(userHome),
    home: resolveHome(process.env, userHome),
    program: { folder: import.meta.dirname, version: build },
    node: process.execPath,
    environment: process.env,
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
