import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { DaemonStatus } from "../../ipc/protocol.ts";
import { build } from "../../ipc/version.ts";
import { InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { changeConfig, problemOf, replaceText } from "../../orchestrator/config/change.ts";
import { type LoadedSettings, loadSettings, parseConfigText, readConfigText } from "../../orchestrator/config/load.ts";
import { type Sources, formatPath } from "../../orchestrator/config/paths.ts";
import { absentModel, parseSettings, settingsNotes } from "../../orchestrator/config/problems.ts";
import { shownSetting, shownSettings, shownValue } from "../../orchestrator/config/shown.ts";
import { jsonText, oneLine } from "../../orchestrator/util/control-characters.ts";
import { installedModels } from "../../orchestrator/storage/summary-file.ts";
import { type StoredProject, viewProject } from "../../server/daemon/client.ts";
import { type CommandIo, homeOf, type JsonOption } from "../terminal/io.ts";
import { viewDaemon } from "./check-machine.ts";
import { renderTable, show, cutTo } from "../terminal/terminal-text.ts";
import { defined } from "../../orchestrator/util/values.ts";

/** Values are cut to this width in a terminal, but not with `--json` and in `config get`. */
const maxCells = 60;

/** `ollm config show [path]`: settings, values and sources; for an invalid file the defaults and the error. */
export async function configShow(wanted: string | undefined, options: JsonOption, io: CommandIo): Promise<number> {
  const { loaded, problem, view } = await loadAnyway(io);
  const settings = shownSettings(loaded.settings, loaded.sources, wanted);
  for (const warning of loaded.warnings) io.stderr(`ollm: ${warning}\n`);
  if (problem !== undefined) {
    io.stderr(`ollm: ${problem.message}\n  The defaults are shown; a running daemon keeps the previous settings.\n`);
  }
  for (const note of await differences(homeOf(io), settings, io)) io.stderr(`ollm: ${note}\n`);
  const project = view && shownProject(view, loaded.sources, wanted);
  for (const note of project?.notes ?? []) io.stderr(`ollm: ${oneLine(note)}\n`);
  const value = { settings, ...(project && { project }), ...(problem !== undefined && { problem: problem.message }) };
  show(value, options, io, () => {
    const cell = (text: string): string => (io.columns === undefined ? text : cutTo(text, maxCells));
    // Sources are not cut, since the line number is at their end.
    const whole = io.hasColour === undefined ? {} : { hasColour: io.hasColour };
    const table = renderTable(
      settings,
      [
        { title: "SETTING", text: (row) => row.path },
        { title: "VALUE", text: (row) => cell(shownValue([], row.value)) },
        { title: "FROM", text: (row) => row.source },
      ],
      whole,
    );
    if (project === undefined || project.settings.length === 0) return table;
    const own = renderTable(
      project.settings,
      [
        { title: "PROJECT", text: (row) => row.key },
        { title: "VALUE", text: (row) => cell(shownValue([], row.value)) },
        { title: "FROM", text: (row) => row.source },
        { title: "IN EFFECT", text: (row) => (row.reason === undefined ? "yes" : `no: ${row.reason}`) },
      ],
      whole,
    );
    return `${table}\n${own}`;
  });
  return problem === undefined ? 0 : 1;
}

/** `ollm config get PATH`: prints the value, strings without quotes; exit code 1 if it is not set. */
export async function configGet(wanted: string, options: JsonOption, io: CommandIo): Promise<number> {
  const { loaded, problem } = await loadAnyway(io);
  if (problem !== undefined) throw problem;
  const setting = shownSetting(loaded.settings, loaded.sources, wanted);
  if (setting.value === undefined && options.json !== true) {
    io.stderr(`ollm: ${setting.path} is not set\n`);
    return 1;
  }
  show(
    setting,
    options,
    { stdout: io.content },
    ({ value }) => `${typeof value === "string" ? value : jsonText(value)}\n`,
  );
  return setting.value === undefined ? 1 : 0;
}

/** `ollm config set PATH VALUE` and, without a value, `unset PATH`. Throws for an unknown path or an invalid value. */
export async function configSet(
  wanted: string,
  value: string | undefined,
  options: JsonOption,
  io: CommandIo,
): Promise<number> {
  const home = homeOf(io);
  const change = await changeConfig(home, wanted, value);
  const { file, setting } = change;
  const name = formatPath(setting.path);
  const { loaded } = await loadAnyway(io);
  const rows = shownSettings(loaded.settings, loaded.sources, name);
  const winner = rows.find(({ source }) => source !== "default" && !source.startsWith(file));
  const done = change.value === undefined ? "was removed" : `is ${shownValue(change.setting.path, change.value)}`;
  const where = change.value === undefined ? change.file : change.source;
  const notes = [
    ...(winner === undefined ? [] : [`overridden here by ${winner.source}: ${shownValue([], winner.value)}`]),
    ...absentModel(change, loaded.settings, installedModels(home)),
    ...(await daemonNotes(home, change, io)),
    ...(change.isChanged ? [] : ["unchanged"]),
  ];
  const result = {
    path: name,
    ...(change.value !== undefined && { value: rows.length === 1 ? rows[0]?.value : change.value }),
    source: change.source,
    changed: change.isChanged,
  };
  show(result, options, io, () => `${[`${name} ${done} (${where})`, ...notes].join("; ")}\n`);
  return 0;
}

/** `ollm config validate [FILE]`: exit code 1 if the file is invalid, with the error. */
export async function configValidate(given: string | undefined, options: JsonOption, io: CommandIo): Promise<number> {
  const file = given === undefined ? fileOf(io) : path.resolve(io.workingDirectory, given);
  const text = await readConfigText(file);
  if (text === "" && given !== undefined && (await stat(file).catch(() => undefined)) === undefined) {
    throw new InvalidRequest(`${file} does not exist`, {
      next: advice("name an existing file, or none to check config.yaml"),
    });
  }
  const problem = await problemOf(file, text);
  for (const note of problem === undefined ? await notesOn(file, text) : []) io.stderr(`ollm: ${note}\n`);
  const result = { file, valid: problem === undefined, ...(problem !== undefined && { problem: problem.message }) };
  if (problem !== undefined && options.json !== true) throw problem;
  show(result, options, io, () => `${file} is valid${text === "" ? ": empty, the defaults apply" : ""}\n`);
  return problem === undefined ? 0 : 1;
}

async function notesOn(file: string, text: string): Promise<readonly string[]> {
  const sources: Sources = new Map();
  const tree = await parseConfigText(text, file, sources);
  return settingsNotes(parseSettings(tree, sources, file), sources);
}

/** `ollm config path`: prints the path of the file, whether it exists or not. */
export function configPath({ json = false }: { readonly json?: boolean }, io: CommandIo): Promise<number> {
  const file = fileOf(io);
  io.stdout(json ? `${jsonText({ file, exists: existsSync(file) })}\n` : `${file}\n`);
  return Promise.resolve(0);
}

/** Loads the settings as a server started here would; without the parts that are invalid. */
async function loadAnyway(
  io: CommandIo,
): Promise<{ readonly loaded: LoadedSettings; readonly view?: StoredProject; readonly problem?: OrchestratorError }> {
  const home = homeOf(io);
  const { environment, workingDirectory, userHome } = io;
  try {
    const base = await loadSettings({ home, environment, flags: {} });
    const { projects, profiles } = base.settings;
    const view = await viewProject({ home, workingDirectory, userHome, detects: projects.detect, profiles });
    if (view === undefined) return { loaded: base };
    return { loaded: await loadSettings({ home, environment, flags: {}, project: view.project }), view };
  } catch (problem) {
    if (!(problem instanceof OrchestratorError)) throw problem;
    const read = { tree: {}, sources: new Map<string, string>() };
    const loaded = await loadSettings({ home, environment, flags: {}, read }).catch((error: unknown) => {
      if (!(error instanceof OrchestratorError)) throw error;
      // A variable is invalid, too.
      return loadSettings({ home, environment: {}, flags: {}, read });
    });
    return { loaded, problem };
  }
}

function fileOf(io: CommandIo): string {
  return path.join(homeOf(io), "config.yaml");
}

const statusMs = 2_000;

/** Notes on how the running daemon applies a change; empty if no daemon runs. */
async function daemonNotes(
  home: string,
  change: Awaited<ReturnType<typeof changeConfig>>,
  io: CommandIo,
): Promise<readonly string[]> {
  if (!change.isChanged) return [];
  const status = await daemonStatus(home, io);
  if (status === undefined) return [];
  const { settingsProblem, fixedSettings } = status;
  if (settingsProblem !== undefined) return [`the daemon does not use it: ${settingsProblem}`];
  if (fixedSettings === undefined) return ["in effect from the next call"];
  const name = formatPath(change.setting.path);
  const winner = Object.entries(fixedSettings).find(
    ([fixed]) => fixed === name || fixed.startsWith(`${name}.`) || name.startsWith(`${fixed}.`),
  );
  // Settings of callers come with each call, whatever the daemon was started with.
  if (winner === undefined || change.setting.scope !== "daemon") {
    // The daemon is not asked for its models here; a request says so, too.
    const isModel = change.setting.path[0] === "model" && change.value !== undefined;
    if (name === "store.path") return ["in effect; loaded models stay until they are evicted or the daemon exits"];
    return [isModel ? "in effect; where no such model is installed, another one answers" : "in effect"];
  }
  return [`not in effect: the daemon was started with ${winner[1]}; run ollm daemon restart without it`];
}

/** Notes on settings that have another value in the running daemon than in this shell; empty if no daemon runs. */
async function differences(
  home: string,
  settings: ReturnType<typeof shownSettings>,
  io: CommandIo,
): Promise<readonly string[]> {
  const { fixedSettings, fixedValues } = (await daemonStatus(home, io)) ?? {};
  if (fixedSettings === undefined) return [];
  return settings.flatMap(({ path: name, value, source, scope }) => {
    if (scope !== "daemon") return [];
    const started = fixedSettings[name];
    if (started === undefined) {
      if (!/^(?:OLLM_|--)/.test(source)) return [];
      return [`the running daemon does not use ${source}: it was started without it; run ollm daemon restart`];
    }
    const obeyed = fixedValues?.[name];
    if (source === started && (obeyed === undefined || JSON.stringify(obeyed) === JSON.stringify(value))) return [];
    const is = obeyed === undefined ? "" : `${name} is ${shownValue([], obeyed)}: `;
    return [`${is}the running daemon was started with ${started}, which overrides ${name}`];
  });
}

/** Returns the status of the daemon; undefined if none responds. */
async function daemonStatus(home: string, io: CommandIo): Promise<DaemonStatus | undefined> {
  const limits = { timeoutMs: statusMs, welcomeTimeoutMs: 2 * statusMs };
  return (await viewDaemon(home, build, io.workingDirectory, limits)).status;
}

/**
 * `ollm config edit`: opens a copy of the file in the editor and replaces the file once the copy is valid. An invalid copy
 * is edited again or kept as a draft. Returns 1 if the file was not replaced because of an error.
 */
export async function configEdit(io: CommandIo): Promise<number> {
  const editor = editorOf(io);
  const file = fileOf(io);
  const before = await readConfigText(file);
  const folder = await mkdtemp(path.join(tmpdir(), "ollm-config-"));
  // Editors choose the language by the name.
  const draft = path.join(folder, "config.yaml");
  let isDraftKept = false;
  try {
    await writeFile(draft, before === "" ? firstText : before, { mode: 0o600 });
    for (;;) {
      await runEditor(editor, draft, io);
      const text = await readFile(draft, "utf8");
      if (text === before || (before === "" && text === firstText)) {
        io.stdout(`${file} is unchanged\n`);
        return 0;
      }
      const problem = await problemOf(draft, text);
      if (problem === undefined) {
        isDraftKept = true;
        const isWritten = await replaceText(file, before, text).catch((error: unknown) => {
          io.stderr(`ollm: your draft is ${draft}\n`);
          throw error;
        });
        if (!isWritten) {
          throw new OrchestratorError(`${file} was changed by another program meanwhile; your draft is ${draft}`, {
            next: advice("compare the two and edit again"),
          });
        }
        isDraftKept = false;
        io.stdout(`${file} was changed\n`);
        return 0;
      }
      io.stderr(`ollm: ${problem.message}\n`);
      const again = io.isTerminal ? await io.ask("Continue editing? [Y/n] ") : "n";
      if (!/^n/i.test(again)) continue;
      isDraftKept = true;
      io.stderr(`  ${file} is unchanged; your draft is ${draft}\n`);
      return 1;
    }
  } finally {
    if (!isDraftKept) await rm(folder, { recursive: true, force: true });
  }
}

const firstText = "# Settings of ollm, such as\n# privacy: local_only\n# ollm config show lists them all.\n";

function editorOf({ environment, platform }: CommandIo): string {
  const given = [environment["VISUAL"], environment["EDITOR"]].find((name = "") => name.trim() !== "");
  return given ?? (platform === "win32" ? "notepad" : "vi");
}

/**
 * Runs the editor through a shell, as git does: `EDITOR="code --wait"` has arguments. The path of an existing file is
 * quoted, since it may contain spaces. Throws if the editor can't be run or fails.
 */
async function runEditor(editor: string, file: string, io: CommandIo): Promise<void> {
  const isFile = (await stat(editor).catch(() => undefined))?.isFile() === true;
  const { command, options } =
    io.platform === "win32"
      ? { command: [`${isFile ? `"${editor}"` : editor} "${file}"`], options: { shell: true } }
      : { command: ["/bin/sh", "-c", `${isFile ? '"$0"' : editor} "$1"`, editor, file], options: {} };
  const [program = "", ...words] = command;
  const code = await new Promise<number | NodeJS.Signals>((resolve, reject) => {
    const child = spawn(program, words, { stdio: "inherit", env: { ...io.environment }, ...options });
    child.once("error", reject);
    child.once("close", (exitCode, signal) => resolve(exitCode ?? signal ?? 1));
  });
  if (code === 0) return;
  throw new InvalidRequest(`the editor ${JSON.stringify(editor)} exited with ${code}; nothing was changed`, {
    next: [advice("set VISUAL or EDITOR to an installed editor"), { step: "changeSetting", setting: "SETTING" }],
  });
}

/** The setting that each key of the file overrides; `systemPrompt` overrides none. */
const settingOf: Readonly<Record<string, string>> = {
  profile: "model.routing.defaultProfile",
  "routing.defaultProfile": "model.routing.defaultProfile",
  model: "model.default",
  profiles: "profiles",
  "tools.enabled": "tools.enabled",
  "tools.disabled": "tools.disabled",
};

/**
 * A project for `ollm config show`: the settings of its file, each with its source (`/project/.ollm/project.yaml:2`, or the
 * detected kind), whether it is in effect, and why not; and notes on what is not used. `inForce` maps settings to their
 * sources; `wanted` is the requested path.
 */
function shownProject(
  { project, written, sources }: StoredProject,
  inForce: ReadonlyMap<string, string>,
  wanted: string | undefined,
) {
  const holds = project.settings;
  const allSources = { ...sources, ...project.sources };
  const values: readonly (readonly [key: string, value: unknown])[] = [
    ["profile", written.profile ?? holds.profile],
    ["routing.defaultProfile", sources["routing.defaultProfile"] && written.routing?.defaultProfile],
    ["model", written.model],
    ["systemPrompt", written.systemPrompt],
    ["profiles", written.profiles],
    ["tools.enabled", written.tools?.enabled],
    ["tools.disabled", written.tools?.disabled],
  ];
  const settings = values.flatMap(([key, value]) => {
    const setting = settingOf[key];
    const isAsked = wanted === undefined || (setting !== undefined && `${setting}.`.startsWith(`${wanted}.`));
    if (value === undefined || !isAsked) return [];
    const source = allSources[key] ?? project.file ?? project.folder;
    const reason = reasonAgainst(key, source);
    return [{ key, value, source, inForce: reason === undefined, ...defined({ reason }) }];
  });
  return { folder: project.folder, settings, notes: project.notes };

  function reasonAgainst(key: string, source: string): string | undefined {
    if (["model", "systemPrompt", "profiles"].includes(key) && !project.isTrusted)
      return "not approved (ollm project trust)";
    // Lists of tools and profiles are combined with the other settings.
    if (key === "systemPrompt" || key === "profiles" || key.startsWith("tools.")) return undefined;
    const winner = inForce.get(settingOf[key] ?? key);
    return winner === source ? undefined : `overridden by ${winner ?? "the default"}`;
  }
}
