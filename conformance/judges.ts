import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const tools = fileURLToPath(new URL("tools/", import.meta.url));

/** The third-party test programs, by their entry file in `tools/`. */
const entries = {
  conformance: "node_modules/@modelcontextprotocol/conformance/dist/index.js",
  inspector: "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js",
} as const;

export interface Verdict {
  readonly exitCode: number;
  /** Standard output and error, interleaved. */
  readonly output: string;
}

/** One line of a judge's report. */
export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Installs the judges from their lockfile unless they are installed. Throws when npm fails. */
export function installJudges(): Promise<void> {
  return installTools(tools, Object.values(entries), "the judges (conformance/tools, about 330 MB)");
}

/** Installs a package of tools from its lockfile, unless all `files` in its folder are there. Throws when npm fails. */
export async function installTools(
  folder: string,
  files: readonly string[],
  what: string,
  words: readonly string[] = ["ci"],
): Promise<void> {
  if (files.every((file) => existsSync(`${folder}${file}`))) return;
  process.stderr.write(`installing ${what} ...\n`);
  const npm = process.env["npm_execpath"];
  const [command, args] = npm === undefined ? ["npm", []] : [process.execPath, [npm]];
  const child = spawn(command, [...args, ...words], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  const [code] = (await once(child, "exit")) as [number | null];
  if (code !== 0) throw new Error(`npm ${words.join(" ")} in ${folder} ended with ${code}`);
}

/** Runs a judge to its end, for `limitMs` at most; its exit code is then -1. */
export async function judge(
  name: keyof typeof entries,
  args: readonly string[],
  options: { readonly environment: Readonly<Record<string, string>>; readonly limitMs: number; readonly cwd?: string },
): Promise<Verdict> {
  const child = spawn(nodeForJudges(), [`${tools}${entries[name]}`, ...args], {
    env: options.environment,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: options.limitMs,
    killSignal: "SIGKILL",
    ...(options.cwd !== undefined && { cwd: options.cwd }),
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { exitCode: code ?? -1, output };
}

/** A Node >= 22, which the judges need: this one, or the one installed beside them. Throws when there is neither. */
function nodeForJudges(): string {
  if (Number(process.versions.node.split(".")[0]) >= 22) return process.execPath;
  const own = `${tools}node_modules/node-${process.platform}-${process.arch}/bin/node`;
  if (existsSync(own)) return own;
  throw new Error(
    `the judges need Node >= 22, and conformance/tools has none for this platform: run this with Node >= 22`,
  );
}
