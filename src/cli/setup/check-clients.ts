import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { advice } from "../../orchestrator/api/next-step.ts";
import { isRecord, jsonIn, orUndefined } from "../../orchestrator/util/values.ts";
import { type Check, type Checker, fail, ok, stepsFor, warn } from "./check.ts";
import { readConfigFile } from "./config-file.ts";
import { type ClientTarget, findTargets, gatherFacts } from "./clients.ts";
import { readEntry } from "./document.ts";
import { type GuideTarget, guidePlaces, guideState, partOf, planAddGuide } from "./guide-plan.ts";
import { entryLocation, orProblem } from "./plan.ts";
import { type Launch, entryName, readLaunch } from "./launch.ts";
import type { CommandIo } from "../terminal/io.ts";
import { canExecute } from "../../orchestrator/util/programs.ts";

/** Checks that each installed assistant has an ollm entry, that its program exists, and that its guide is current. */
export const checkClients: Checker = async ({ io }) => {
  const targets = findTargets(gatherFacts(io), []);
  if (targets.length === 0) {
    return [
      warn("clients", "no assistant was found; ollm setup --print shows the entry for others", {
        step: "setUpClient",
        client: "NAME",
      }),
    ];
  }
  const { files } = await guidePlaces(targets);
  const checks = [...targets.map(checkTarget), ...files.map(checkGuide), ...targets.map(checkHook)];
  return (await Promise.all<Check | readonly Check[]>(checks)).flat();
};

/** Whether the hook of an assistant that can have one is there, is not switched off, and can be started. */
async function checkHook(target: ClientTarget): Promise<readonly Check[]> {
  const { name, id: client } = target.client;
  const { files } = await guidePlaces([target], "", true);
  const [hook, ...others] = files.filter(({ form }) => partOf(form) === "plugin");
  if (hook === undefined) return [];
  const textOf = (file: string): string => orUndefined(() => readFileSync(file, "utf8")) ?? "";
  const text = textOf(hook.file);
  // Claude Code's folder of skills lies beside its settings; Codex keeps whether its user trusts a hook to itself.
  const settings = textOf(path.join(path.dirname(hook.file), "../../../settings.json"));
  const isOff = client === "claude-code" && /"(disableAllHooks": *true|ollm@skills-dir": *false)/.test(settings);
  const state = guideState(text, hook.form);
  const off = isOff ? "off in the settings of Claude Code" : "off; ollm setup --plugin offers it";
  if (state === "foreign") return [ok(`${name} hook`, `${hook.file} has others, which setup leaves as they are`)];
  if (isOff || state === "absent") return [ok(`${name} hook`, off)];
  const command = String(jsonIn(`"${/"command": "(.*)"/.exec(text)?.[1] ?? ""}"`));
  const words = [...command.matchAll(/"((?:[^"\\]|\\.)+)"/g)].map(([, word = ""]) =>
    word.replaceAll(/\\([$`"])/g, "$1"),
  );
  const lost = others.find(({ file }) => !existsSync(file));
  const older = guideState(text, `hook ${command}`) === "older" ? "out of date" : undefined;
  const problem = lost ? `${lost.file} does not exist` : (launchProblem(readLaunch({ command: words })) ?? older);
  if (problem === undefined) return [ok(`${name} hook`, hook.file)];
  return [warn(`${name} hook`, `${hook.file}: ${problem}`, { step: "setUpClient", client })];
}

/** Warns about a guide that an earlier version wrote. Edited guides and missing ones are the user's choice. */
async function checkGuide(target: GuideTarget): Promise<readonly Check[]> {
  const { client, file } = target;
  const plan = await planAddGuide(target);
  if (plan.kind !== "change" || !plan.isUpdate) return [];
  return [warn(`${client.name} guide`, `${file}: out of date`, { step: "setUpClient", client: client.id })];
}

async function checkTarget(target: ClientTarget): Promise<Check> {
  const { file } = target;
  const { name, id: client } = target.client;
  const setUp = { step: "setUpClient", client } as const;
  const found = await orProblem(target, async () => {
    const entry = readEntry((await readConfigFile(file)).text, entryLocation(target));
    if (entry === undefined) return warn(name, `no entry "${entryName}" in ${file}`, setUp);
    const problem = launchProblem(readLaunch(entry));
    return problem === undefined ? ok(name, file) : fail(name, `${file}: ${problem}`, setUp);
  });
  if (!("kind" in found)) return found;
  return fail(name, found.message, stepsFor(found, advice(`correct the file: ${name} can't read it either`)));
}

/** Why a client can't start the entry; undefined if it can. */
function launchProblem({ command, args }: ReturnType<typeof readLaunch>): string | undefined {
  if (command === undefined) return `the entry "${entryName}" has no command`;
  // A bare name is resolved with the client's own PATH, which is unknown here.
  if (path.isAbsolute(command) && !canExecute(command)) return `${command} does not exist or can't be executed`;
  const script = args.find((part) => /\.(mjs|js)$/.test(part));
  return script !== undefined && path.isAbsolute(script) && !existsSync(script)
    ? `${script} does not exist`
    : undefined;
}

/** The result of starting ollm as a client would. */
type LaunchCheck =
  | { readonly ok: true; readonly tools: readonly string[]; readonly tookMs: number }
  | { readonly ok: false; readonly reason: string };

/** A cold start, including that of the daemon, takes two or three seconds. */
const boundMs = 20_000;
/** Time for the server to exit after its input has ended. */
const endMs = 3_000;

/**
 * Starts a launch as a desktop client does (its command and arguments, a minimal environment, the root folder as working
 * directory) and speaks MCP to it until the tools are listed. Never throws; takes at most 20 s by default.
 */
export async function checkLaunch(
  launch: Launch,
  machine: Pick<CommandIo, "platform" | "userHome" | "environment">,
  timeoutMs = boundMs,
): Promise<LaunchCheck> {
  const started = performance.now();
  const child = spawn(launch.command, launch.args, {
    cwd: path.parse(machine.userHome).root,
    env: bareEnvironment(launch, machine),
    stdio: ["pipe", "pipe", "pipe"],
    windowsHide: true,
  });
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors = (errors + text).slice(-2_000);
  });
  // The program has exited, which "close" reports.
  child.stdin.on("error", () => undefined);

  let bound: NodeJS.Timeout | undefined;
  const outcome = new Promise<LaunchCheck>((resolve) => {
    const reject = (reason: string): void => resolve({ ok: false, reason: withErrors(reason, errors) });
    bound = setTimeout(() => reject(`no response within ${timeoutMs / 1000} s`), timeoutMs);
    child.once("error", (error) => reject(`${launch.command} can't be started: ${error.message}`));
    child.once("close", (code, signal) => reject(`it exited early (${signal ?? `exit code ${code ?? "unknown"}`})`));
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line.trim() === "") return;
      const value = jsonIn(line);
      if (!isRecord(value)) return reject(`it wrote a line that is not JSON-RPC: ${line.slice(0, 200)}`);
      const message: Message = value;
      if (message.error !== undefined) return reject(`it returned an error: ${message.error.message ?? ""}`);
      if (message.id === 1) {
        send({ jsonrpc: "2.0", method: "notifications/initialized" });
        send({ jsonrpc: "2.0", id: 2, method: "tools/list" });
      }
      if (message.id === 2) {
        const tools = (message.result?.tools ?? []).flatMap(({ name }) => (name === undefined ? [] : [name]));
        if (tools.length === 0) return reject("it lists no tools");
        resolve({ ok: true, tools, tookMs: Math.round(performance.now() - started) });
      }
    });
  });
  const send = (message: unknown): void => void child.stdin.write(`${JSON.stringify(message)}\n`);
  send({
    jsonrpc: "2.0",
    id: 1,
    method: "initialize",
    params: {
      protocolVersion: "2025-06-18",
      capabilities: {},
      clientInfo: { name: "ollm-setup", version: "1.0.0" },
    },
  });
  const result = await outcome;
  clearTimeout(bound);
  child.stdin.end();
  if (child.pid !== undefined) {
    const kill = setTimeout(() => child.kill("SIGKILL"), endMs);
    await closed;
    clearTimeout(kill);
  }
  return result;
}

interface Message {
  readonly id?: number;
  readonly error?: { readonly message?: string };
  readonly result?: {
    readonly tools?: readonly { readonly name?: string }[];
  };
}

/** The environment of a program that was started from a dock or a start menu, not from a shell. */
function bareEnvironment(
  launch: Launch,
  { platform, userHome, environment }: Parameters<typeof checkLaunch>[1],
): Record<string, string> {
  const names =
    platform === "win32"
      ? ["SystemRoot", "SystemDrive", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TEMP", "TMP", "PATHEXT", "ComSpec"]
      : ["TMPDIR", "USER"];
  const kept = names.flatMap((name) => {
    const value = environment[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const search = platform === "win32" ? `${environment["SystemRoot"] ?? "C:\\Windows"}\\System32` : "/usr/bin:/bin";
  return { ...Object.fromEntries(kept), PATH: search, HOME: userHome, ...launch.env };
}

function withErrors(reason: string, errors: string): string {
  const lines = errors.trim().split("\n").slice(-5);
  return errors.trim() === "" ? reason : `${reason}\n${lines.map((line) => `    ${line.trimEnd()}`).join("\n")}`;
}
