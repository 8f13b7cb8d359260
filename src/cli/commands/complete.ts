import { text } from "node:stream/consumers";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { createCommands } from "../commands.ts";
import { completionOf, type Candidate, type Completion } from "../complete-words.ts";
import { homeOf, type CommandIo } from "../terminal/io.ts";

/** Time from the start of the process until Tab shows names; Ollama servers that take longer are left out. */
const boundMs = 180;
/** Ollama servers get at least this long, even if the start of the process was slow. */
const leastMs = 80;

/**
 * `ollm __complete COUNT WORD...`, asked by the scripts of `completion.ts`: prints the candidates for the word after
 * COUNT words, one per line, its meaning after a tab; `:files` for a path, which shells complete themselves.
 * Starts no daemon, reports no error. `bound` ends the wait for Ollama servers.
 */
export async function complete(
  [count = "", ...words]: readonly string[],
  io: CommandIo,
  bound = AbortSignal.timeout(Math.max(leastMs, Math.round(boundMs - performance.now()))),
): Promise<void> {
  const at = Number(count);
  const current = words[at] ?? "";
  const { prefix, wanted } = completionOf(
    createCommands(() => Promise.resolve()),
    words.slice(0, at),
    current,
  );
  if (wanted === "files") {
    io.stdout(":files\n");
    return;
  }
  const lines = (await candidatesFor(wanted, io, bound))
    .map(({ word, meaning }) => ({ word: `${prefix}${word}`, meaning }))
    .filter(({ word }) => word.startsWith(current) && isPlain(word))
    .map(({ word, meaning }) => (meaning === undefined ? `${word}\n` : `${word}\t${meaning}\n`));
  io.stdout(lines.join(""));
}

/** Whether a shell takes the word as it is: names come from other programs and are put on the command line. */
function isPlain(word: string): boolean {
  return /^[\w.:/@+=-]+$/.test(word);
}

function isNoOption(name: string): boolean {
  return !name.startsWith("-");
}

async function candidatesFor(
  wanted: Exclude<Completion["wanted"], "files">,
  io: CommandIo,
  bound: AbortSignal,
): Promise<readonly Candidate[]> {
  if (wanted === "settings") {
    const [{ settingPaths }, { settingsSchema }] = await Promise.all([
      import("../../orchestrator/config/paths.ts"),
      import("../../orchestrator/config/schema.ts"),
    ]);
    return settingPaths(settingsSchema).map(({ path }) => ({ word: path.join(".") }));
  }
  // A name that begins with a hyphen would be an option.
  if (wanted === "models") return (await modelNames(io, bound)).filter(isNoOption).map((word) => ({ word }));
  return wanted;
}

/** The body of a response. `fetch` would take 30 ms to load. */
async function get(url: string, signal: AbortSignal): Promise<string> {
  const { get: request } = url.startsWith("https:") ? await import("node:https") : await import("node:http");
  return new Promise((resolve, reject) => {
    const sent = request(url, { signal, agent: false }, (response) => {
      text(response).then(resolve, reject);
    });
    sent.once("error", reject);
  });
}

async function modelNames(io: CommandIo, bound: AbortSignal): Promise<readonly string[]> {
  try {
    const home = homeOf(io);
    const [{ installedNames }, { usableSettings }] = await Promise.all([
      import("../setup/check-engines.ts"),
      import("../setup/check.ts"),
    ]);
    const { settings } = await usableSettings(home, io);
    return await installedNames({ home, io, settings, get }, bound);
  } catch (error) {
    if (error instanceof OrchestratorError) return [];
    throw error;
  }
}
