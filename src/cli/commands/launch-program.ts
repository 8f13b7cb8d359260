import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { constants as system, tmpdir } from "node:os";
import path from "node:path";
import { httpTokenFile } from "../../ipc/run-folder.ts";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { canExecute } from "../../orchestrator/util/programs.ts";
import { isRecord } from "../../orchestrator/util/values.ts";
import { type CommandIo, homeOf } from "../terminal/io.ts";
import { isFileIn } from "./prompt-words.ts";
import programs from "./launch-programs.json" with { type: "json" };

/** What a program is started with. */
interface Target {
  /** The address of the listener: `http://127.0.0.1:4711`. */
  readonly url: string;
  readonly model: string;
  /** The widest window that fits: programs shorten their conversation before it is full. */
  readonly contextTokens: number;
}

export interface Program {
  readonly title: string;
  /** On npm. */
  readonly package: string;
  readonly door: "anthropic" | "openai";
  /** Instructions and tools of its first request in an empty folder (measured 2026-11, at 4 bytes a token). */
  readonly firstTokens: number;
  /** Before the arguments that the user gives. What is no text is passed as JSON, here and in variables. */
  readonly arguments: readonly unknown[];
  readonly variables: Readonly<Record<string, unknown>>;
  /** The variable that gets the token. It is no argument, since other users see those. */
  readonly tokenVariable: string;
  /** Variables that would send the program elsewhere, or with other credentials. */
  readonly without?: readonly string[];
  /** A variable that names a file, and the file's JSON. */
  readonly file?: { readonly variable: string; readonly content: unknown };
}

/** A slow model reads for minutes before its first token, for which programs have limits of their own. */
const patienceMs = 3_600_000;
/** The part of the window that an answer may take; the rest is for the conversation. */
const answerShare = 4;

export type ProgramName = keyof typeof programs;

/**
 * How each program is sent to a loopback address for one run, by what outranks its own files, and with its telemetry off
 * where that takes no file. Claude Code's settings outrank variables in the user's own, which would outrank those of the
 * process; its own default mode asks the model whether a call is risky, which a small one can't say.
 */
export const launchPrograms: Readonly<Record<ProgramName, Program>> = programs as Record<ProgramName, Program>;

type Start = ReturnType<typeof startOf>;

/** What the program is started with: the target stands in place of `{url}`, `{model}` and the like. */
export function startOf({ variables, file, ...program }: Program, { url, model, contextTokens }: Target) {
  const answerTokens = Math.floor(contextTokens / answerShare);
  const values = { url, model, quotedModel: JSON.stringify(model), contextTokens, answerTokens, patienceMs };
  const textIn = (text: string): string =>
    text.replaceAll(/\{(\w+)\}/g, (all, name: string) => String(values[name as keyof typeof values] ?? all));
  const filled = (part: unknown): unknown => {
    if (Array.isArray(part)) return part.map(filled);
    if (isRecord(part))
      return Object.fromEntries(Object.entries(part).map(([key, inner]) => [textIn(key), filled(inner)]));
    if (typeof part !== "string") return part;
    // A number alone stays one.
    const [, name] = /^\{(contextTokens|answerTokens|patienceMs)\}$/.exec(part) ?? [];
    return name === undefined ? textIn(part) : values[name as keyof typeof values];
  };
  const asText = (part: unknown): string => (typeof part === "string" ? textIn(part) : JSON.stringify(filled(part)));
  return {
    arguments: program.arguments.map(asText),
    variables: Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, asText(value)])),
    tokenVariable: program.tokenVariable,
    without: program.without ?? [],
    ...(file && { file: { variable: file.variable, content: asText(file.content) } }),
  };
}

/** Node's own and npm's names of a program on Windows; a `.cmd` can't be started without a shell. */
const windowsEndings = [".exe", ".cmd"];

/** How the program is started: from the folders of PATH, and on Windows what npm's script there starts. */
export function programAt(
  name: ProgramName,
  { package: packageName }: Pick<Program, "package">,
  { environment, platform, workingDirectory }: Pick<CommandIo, "environment" | "platform" | "workingDirectory">,
): readonly string[] | undefined {
  const isWindows = platform === "win32";
  const given =
    Object.entries(environment).find(([key]) => (isWindows ? key.toUpperCase() : key) === "PATH")?.[1] ?? "";
  for (const folder of given.split(isWindows ? ";" : ":").filter((part) => part !== "")) {
    for (const ending of isWindows ? windowsEndings : [""]) {
      const file = path.resolve(workingDirectory, folder, `${name}${ending}`);
      if (!isFileIn(file, folder) || !(isWindows || canExecute(file))) continue;
      if (ending !== ".cmd") return [file];
      const own = path.join(path.dirname(file), "node_modules", packageName);
      try {
        const { bin } = JSON.parse(readFileSync(path.join(own, "package.json"), "utf8")) as {
          bin: Record<string, string>;
        };
        const script = path.join(own, bin[name] ?? "");
        return /\.[cm]?js$/.test(script) ? [process.execPath, script] : [script];
      } catch {
        continue;
      }
    }
  }
  return undefined;
}

/** Runs the program with a listener that is open as long as it runs; returns its exit code. */
export async function runProgram(
  [command = "", ...words]: readonly string[],
  program: Program,
  target: Omit<Target, "url">,
  io: CommandIo,
): Promise<number> {
  const { holdListener } = await import("./serve.ts");
  const ended = new AbortController();
  const folder = await mkdtemp(path.join(tmpdir(), "ollm-launch-"));
  try {
    return await new Promise<number>((resolve, reject) => {
      holdListener({
        io,
        http: { bind: "127.0.0.1", port: 0, doors: [program.door] },
        // The terminal is the program's.
        say: () => undefined,
        signal: ended.signal,
        opened({ url, tokenFile }) {
          const start = startOf(program, { ...target, url });
          const token = readFileSync(tokenFile, "utf8").trim();
          environmentOf(start, token, folder, io).then(
            (env) => resolve(exitOf(command, [...start.arguments, ...words], env, io)),
            reject,
          );
        },
      }).catch(reject);
    });
  } finally {
    ended.abort();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Ours, changed for this run. */
async function environmentOf(
  { variables, tokenVariable, without, file }: Start,
  token: string,
  folder: string,
  { environment }: CommandIo,
): Promise<NodeJS.ProcessEnv> {
  const kept = Object.entries(environment).filter(([name]) => !without.includes(name));
  const written = file && path.join(folder, "settings.json");
  if (file !== undefined && written !== undefined) await writeFile(written, file.content, { mode: 0o600 });
  return {
    ...Object.fromEntries(kept),
    ...variables,
    ...(file && { [file.variable]: written }),
    // A proxy would be sent the prompts.
    ...noProxy(environment),
    [tokenVariable]: token,
  };
}

function noProxy(environment: CommandIo["environment"]): Record<string, string> {
  const names = ["NO_PROXY", "no_proxy"];
  const [before] = names.flatMap((name) => environment[name] ?? []);
  const value = [...(before === undefined || before === "" ? [] : [before]), "127.0.0.1", "localhost"].join(",");
  return Object.fromEntries(names.map((name) => [name, value]));
}

/** Resolves with the exit code, for a signal as shells do: 128 and its number. */
function exitOf(
  command: string,
  words: readonly string[],
  env: NodeJS.ProcessEnv,
  { workingDirectory: cwd, isTerminal }: CommandIo,
): Promise<number> {
  const child = spawn(command, words, { env, cwd, stdio: "inherit" });
  const names = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const passOn = (name: NodeJS.Signals): void => {
    // The terminal sends an interrupt to both.
    if (name !== "SIGINT" || !isTerminal) child.kill(name);
  };
  for (const name of names) process.on(name, passOn);
  return new Promise<number>((resolve, reject) => {
    child.once("error", (error) => reject(new OrchestratorError(`${command} can't be started: ${error.message}`)));
    child.once("exit", (code, signal) => resolve(code ?? 128 + (system.signals[signal ?? "SIGTERM"] ?? 0)));
  }).finally(() => {
    for (const name of names) process.off(name, passOn);
  });
}

/** What would be started, as words of a shell; the token is named by its file. */
export function printed(
  { variables, tokenVariable, without, file }: Start,
  words: readonly string[],
  door: string,
  io: CommandIo,
): string {
  const isWindows = io.platform === "win32";
  const quoted = (text: string): string => `'${text.replaceAll("'", isWindows ? "''" : `'\\''`)}'`;
  const word = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : quoted(text));
  const tokenFile = quoted(httpTokenFile(homeOf(io)));
  const set = { ...variables, ...(file && { [file.variable]: "FILE" }) };
  const lines = isWindows
    ? [
        ...without.map((name) => `Remove-Item -ErrorAction Ignore Env:${name}`),
        ...Object.entries(set).map(([name, value]) => `$env:${name} = ${quoted(value)}`),
        `$env:${tokenVariable} = Get-Content -LiteralPath ${tokenFile}`,
        words.map(word).join(" "),
      ]
    : [
        ["env", ...without.map((name) => `-u ${name}`)].join(" "),
        ...Object.entries(set).map(([name, value]) => `  ${name}=${word(value)}`),
        `  ${tokenVariable}="$(cat ${tokenFile})"`,
        `  ${words.map(word).join(" ")}`,
      ];
  const json = file === undefined ? [] : [`FILE: ${file.content}`];
  return [
    `# with ollm serve running and http.doors: [${door}]; ollm launch opens a listener of its own`,
    lines.join(isWindows ? "\n" : " \\\n"),
    ...json,
    "",
  ].join("\n");
}
