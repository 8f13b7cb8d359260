import { closeSync, openSync } from "node:fs";
import { homedir } from "node:os";
import { isatty } from "node:tty";
import { openClientStreams } from "../ipc/protocol.ts";
import { build } from "../ipc/version.ts";
import { resolveHome, startFolder } from "../orchestrator/config/home.ts";
import { runFront } from "./front/front.ts";

/** Flags with a value that clients start the server with; the daemon parses and validates them. */
const valueFlags: ReadonlySet<string> = new Set(
  "--root --model --provider --host --temperature --max-tokens --context-size --tools".split(" "),
);

/**
 * Whether a command line starts a client's stdio server through the daemon: it has only the server's own flags, and no
 * terminal is attached. Commands, `--standalone`, `--help` and invalid arguments are handled by the program.
 */
export function isServerCall(words: readonly string[], isTerminal: () => boolean): boolean {
  if (words.length === 0) return !isTerminal();
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? "";
    const equals = word.indexOf("=");
    if (!valueFlags.has(equals === -1 ? word : word.slice(0, equals))) return false;
    if (equals !== -1) continue;
    at += 1;
    const value = words[at];
    if (value === undefined || value.startsWith("-")) return false;
  }
  return true;
}

/**
 * The entry of `dist/cli.mjs`, which starts with every client. It contains the front, which is all that a stdio server
 * through the daemon needs; everything else is in other files of `dist/` and loaded on demand.
 */
const words = process.argv.slice(2);

/** More than the modules of one import. */
const filesAtOnce = 250;
/** Runs in a thread of its own, which reads one module after the other. */
const loader = `import { readFileSync } from "node:fs";
export const load = (url, context, next) => url.startsWith("file:") && url.endsWith(".mjs")
  ? { format: "module", shortCircuit: true, source: readFileSync(new URL(url)) } : next(url, context);`;

/** Node opens all modules of an import at once. Where this process may not open as many files, they are read in turn. */
async function boundOpenFiles(): Promise<void> {
  if (process.platform === "win32") return;
  const open: number[] = [];
  try {
    while (open.length < filesAtOnce) open.push(openSync("/dev/null", "r"));
  } catch {
    for (const descriptor of open.splice(0)) closeSync(descriptor);
    (await import("node:module")).register(`data:text/javascript,${encodeURIComponent(loader)}`);
  }
  for (const descriptor of open) closeSync(descriptor);
}

/** Skips `program.ts`: a client waits, and each file takes a millisecond to load. */
async function startStandalone(given: readonly string[]): Promise<void> {
  await boundOpenFiles();
  await (await import("../server/daemon/standalone.ts")).startStandalone(given, () => import("./program.ts"));
}

if (isServerCall(words, () => isatty(0))) {
  const userHome = homedir();
  await runFront({
    words,
    workingDirectory: startFolder(userHome),
    home: resolveHome(process.env, userHome),
    program: { folder: import.meta.dirname, version: build },
    node: process.execPath,
    environment: process.env,
    say: (text) => void process.stderr.write(`ollm: ${text}\n`),
    loadRescue: async () => {
      await boundOpenFiles();
      return (await import("./front/rescue.ts")).rescue;
    },
    serveStandalone: () => startStandalone(["--standalone", ...words]),
    openStreams: openClientStreams,
    exit: (code) => process.exit(code),
  });
} else if (words.includes("--standalone")) {
  await startStandalone(words);
} else {
  await boundOpenFiles();
  await (await import("./program.ts")).runProgram(words);
}
