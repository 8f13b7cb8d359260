/**
 * `launcher.mjs` of the desktop bundle. The client may start it inside an Electron helper, whose executable can't run our
 * child programs and whose library validation rejects the embedded engine. Therefore:
 *
 * | we run in            | a real Node is found | then                                                           |
 * | -------------------- | -------------------- | -------------------------------------------------------------- |
 * | Node, new enough     | –                    | the command runs in this process                               |
 * | Electron, or too old | yes                  | the command runs in that Node; its streams are piped           |
 * | Electron             | no                   | daemon and server in this process, without the embedded engine |
 * | too old              | no                   | a message, exit code 1                                         |
 */
import { execFileSync, spawn } from "node:child_process";
import { accessSync, constants, readdirSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { findNode, isNewEnough, oldestNode } from "../orchestrator/util/programs.ts";
import { nodeFolders, serverArguments } from "./decide.ts";

const command = fileURLToPath(new URL("./dist/cli.mjs", import.meta.url));
const say = (text: string): void => void process.stderr.write(`ollm: ${text}\n`);

const given = serverArguments(
  process.argv.slice(2),
  (folder) => statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true,
);
for (const folder of given.missing) say(`${folder} is not a folder; it is ignored`);

const isElectron = process.versions["electron"] !== undefined;
const isOldEnough = isNewEnough(process.versions.node);
if (!isElectron && isOldEnough) await runHere(given.arguments);
else {
  const node = findNode(
    {
      execPath: process.execPath,
      isElectron: true,
      platform: process.platform,
      searchPath: [process.env["PATH"] ?? "", ...searchedFolders()].join(delimiter),
    },
    isUsableNode,
  );
  if (node !== undefined) runThere(node, given.arguments);
  else if (isElectron && isOldEnough) {
    say("Node was not found: only models of Ollama can be used. Install Node (nodejs.org) for the embedded engine.");
    process.env["OLLM_PROVIDERS_LLAMA_CPP_ENABLED"] = "false";
    await runHere(["--standalone", ...given.arguments]);
  } else {
    say(`Node ${oldestNode} or newer is required, this is ${process.versions.node}: see nodejs.org`);
    process.exitCode = 1;
  }
}

function searchedFolders(): readonly string[] {
  return nodeFolders({
    platform: process.platform,
    userHome: homedir(),
    environment: process.env,
    list(folder) {
      try {
        return readdirSync(folder);
      } catch {
        return [];
      }
    },
  });
}

/** Runs it with `--version`: shims of version managers are executable even without an installed version. */
function isUsableNode(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return isNewEnough(execFileSync(file, ["--version"], { encoding: "utf8", timeout: 3_000, stdio: "pipe" }));
  } catch {
    return false;
  }
}

async function runHere(args: readonly string[]): Promise<void> {
  process.argv = [process.argv[0] ?? process.execPath, command, ...args];
  await import(pathToFileURL(command).href);
}

/** Streams are piped, not inherited: in an Electron helper they may have no descriptor. */
function runThere(node: string, args: readonly string[]): void {
  const child = spawn(node, [command, ...args], { stdio: ["pipe", "pipe", "pipe"], windowsHide: true });
  process.stdin.pipe(child.stdin);
  child.stdout.pipe(process.stdout);
  child.stderr.pipe(process.stderr);
  // Either side may close first; the end of the child, below, decides.
  child.stdin.on("error", () => undefined);
  process.stdout.on("error", () => child.stdin.end());
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
  child.once("error", (error) => {
    say(`${node} can't be started: ${error.message}`);
    process.exit(1);
  });
  child.once("close", (code) => process.stdout.write("", () => process.exit(code ?? 1)));
}
