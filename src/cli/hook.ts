import { spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, readSync, statSync } from "node:fs";
import { isAbsolute, parse, relative, resolve } from "node:path";
import { installedModels } from "../orchestrator/storage/summary-file.ts";
import { fieldsIn, isRecord } from "../orchestrator/util/values.ts";

/** About 8,000 tokens. The line costs about 80. */
const leastBytes = 32_000;
const bytesPerToken = 4;
const mostGitBytes = 4_000_000;

/**
 * What an assistant's `PreToolUse` hook answers, beside the name of its event: a line that its model gets with a large text
 * that it reads whole, or with `OLLM_HOOK=refuse` in place of the text, if there was a model when the daemon of `home` last
 * listed them; a refusal of our agents where their model isn't; undefined for all else, and if anything is not as expected.
 * `given` is what the hook gets as JSON. Reads sizes, and lets git count a diff for at most `gitMs`; never throws.
 */
export function hookAnswer(given: string, home: string, environment: NodeJS.ProcessEnv, gitMs = 150) {
  const { cwd, tool_input: input } = fieldsIn(given);
  const { OLLM_HOOK: mode } = environment;
  if (typeof cwd !== "string" || !isRecord(input) || mode === "off") return undefined;
  const { subagent_type: agent } = input;
  if (typeof agent === "string" && agent.startsWith("ollm-"))
    return agentAnswer(agent, environment["ANTHROPIC_BASE_URL"]);
  if (installedModels(home)?.every(({ isAway }) => isAway === true) ?? true) return undefined;
  try {
    const found = fileNamed(cwd, input) ?? diffNamed(cwd, String(input["command"]), gitMs);
    if (found === undefined || found.bytes < leastBytes) return undefined;
    // toLocaleString("en") takes longer than all else here.
    const tokens = `${Math.round(found.bytes / bytesPerToken / 1_000)}000`.replaceAll(/\B(?=(...)+$)/g, ",");
    const line =
      `${found.what} is about ${tokens} tokens. If a summary, an extract or one fact of it is enough, ` +
      `ollm's route_and_generate with files [${JSON.stringify(found.source)}] has a local model read it: for you that ` +
      "costs about 40 tokens, your prompt and the answer.";
    return mode === "refuse"
      ? denied(`${line} To read all of it: offset and limit, or "| cat".`)
      : { additionalContext: `${line} OLLM_HOOK=off ends these lines.` };
  } catch {
    return undefined;
  }
}

/** Anthropic's service has no model `ollm/...`: a task would leave this machine, and fail. */
function agentAnswer(agent: string, address = "") {
  if (!/^$|^https:\/\/([\w.-]+\.)?anthropic\.com(:|\/|$)/.test(address)) return undefined;
  return denied(
    `If ollm wrote ${agent}, its model is local, not at Anthropic: nothing was sent. Use route_and_generate.`,
  );
}

const denied = (permissionDecisionReason: string) => ({ permissionDecision: "deny", permissionDecisionReason });

/** A text file below the working directory that is to be read whole, by a tool for files or by `cat`. */
function fileNamed(cwd: string, input: Readonly<Record<string, unknown>>) {
  const { file_path, command, limit, offset, pages } = input;
  const printed = /^\s*cat\s+("[^"$`\\]+"|'[^']+'|[^\s"'$`\\|&;<>*?()]+)\s*$/.exec(String(command))?.[1];
  const name = printed?.replace(/^(["'])(.*)\1$/, "$2") ?? file_path;
  if (typeof name !== "string" || (limit ?? offset ?? pages) !== undefined) return undefined;
  const file = resolve(cwd, name);
  const facts = statSync(file, { throwIfNoEntry: false });
  if (facts?.isFile() !== true || facts.size < leastBytes || isBinary(file)) return undefined;
  const source = relative(cwd, file);
  if (isAbsolute(source) || source.startsWith("..")) return undefined;
  return { what: source, source, bytes: facts.size };
}

function isBinary(file: string): boolean {
  const [start, descriptor] = [Buffer.alloc(4_096), openSync(file, "r")];
  try {
    return start.subarray(0, readSync(descriptor, start)).includes(0) || start.toString("latin1", 0, 5) === "%PDF-";
  } finally {
    closeSync(descriptor);
  }
}

/** A whole diff or commit, counted by git, without hooks, pagers, external diffs and text conversions of the repository. */
function diffNamed(cwd: string, command: string, timeout: number) {
  const [, kind, which = ""] =
    /^\s*git\s+(diff|show)(?:\s+(--staged|--cached|[\w@^~./][\w@^~./-]*))?\s*$/.exec(command) ?? [];
  const isStaged = which.startsWith("--");
  if (kind === undefined || (isStaged && kind === "show") || (which !== "" && existsSync(resolve(cwd, which))))
    return undefined;
  const safe = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-pager"];
  const words = ["-C", cwd, ...safe, kind, "--no-ext-diff", "--no-textconv", ...(which === "" ? [] : [which])];
  const limits = { timeout, maxBuffer: mostGitBytes, windowsHide: true, stdio: "pipe" } as const;
  // Not in the project's folder, where Windows would look for the program first.
  const { status, stdout } = spawnSync("git", words, { cwd: parse(cwd).root, ...limits });
  if (status !== 0) return undefined;
  const ref = which === "" && kind === "show" ? "HEAD" : which;
  const source = isStaged ? "git:staged" : `git:${kind}${ref === "" ? "" : `:${ref}`}`;
  return { what: command.trim(), source, bytes: stdout.length };
}
