import { homedir } from "node:os";
import { isatty } from "node:tty";
import { resolveHome } from "../orchestrator/config/home.ts";
import { build } from "../version.ts";
import { runFront } from "./front/front.ts";
import { openHostStreams } from "./front/host-streams.ts";
import { isServerCall } from "./front/words.ts";

/**
 * The entry of `dist/cli.mjs`, which starts with every host: a stdio server through the owner needs nothing but the front.
 * All else lies in other files of `dist/`, loaded when it is asked for.
 */
const words = process.argv.slice(2);

async function runProgram(given: readonly string[]): Promise<void> {
  await (await import("./program.ts")).runProgram(given);
}

if (isServerCall(words, isatty(0))) {
  await runFront({
    words,
    workingDirectory: process.cwd(),
    home: resolveHome(process.env, homedir()),
    program: { folder: import.meta.dirname, version: build },
    node: process.execPath,
    environment: process.env,
    say: (text) => void process.stderr.write(`ollm: ${text}\n`),
    loadRescue: async () => (await import("./front/rescue.ts")).rescue,
    serveAlone: () => runProgram(["--standalone", ...words]),
    openStreams: openHostStreams,
    exit: (code) => process.exit(code),
  });
} else {
  await runProgram(words);
}
