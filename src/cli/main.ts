import { closeSync, openSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { isatty } from "node:tty";
import { openClientStreams } from "../ipc/protocol.ts";
import { build } from "../ipc/version.ts";
import { resolveHome, startFolder } from "../orchestrator/config/home.ts";
import { isServerCall, runFront } from "./front/front.ts";
import { hookAnswer } from "./hook.ts";

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
} else if (words[0] === "hook") {
  // Internal: started by assistants before they use a tool (`ollm setup --plugin`), with a home that is not the usual one.
  const home = words[1] ?? resolveHome(process.env, homedir());
  const answer = hookAnswer(readFileSync(0, "utf8"), home, process.env);
  if (answer !== undefined)
    process.stdout.write(JSON.stringify({ hookSpecificOutput: { hookEventName: "PreToolUse", ...answer } }));
} else if (words.includes("--standalone")) {
  await startStandalone(words);
} else {
  await boundOpenFiles();
  await (await import("./program.ts")).runProgram(words);
}
