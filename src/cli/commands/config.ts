import { existsSync } from "node:fs";
import path from "node:path";
import { changeConfig, problemOf } from "../../orchestrator/config/change.ts";
import { parseConfigText, readConfigText } from "../../orchestrator/config/file.ts";
import { loadSettings, type LoadedSettings } from "../../orchestrator/config/load.ts";
import { shownValue } from "../../orchestrator/config/mask.ts";
import { settingsNotes } from "../../orchestrator/config/notes.ts";
import { formatPath } from "../../orchestrator/config/paths.ts";
import { parseSettings } from "../../orchestrator/config/problems.ts";
import { shownSetting, shownSettings } from "../../orchestrator/config/shown.ts";
import type { Sources } from "../../orchestrator/config/tree.ts";
import { InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { jsonText, oneLine } from "../../orchestrator/util/control-characters.ts";
import { type StoredProject, viewProject } from "../../server/daemon/client.ts";
import { show } from "./show.ts";
import { renderTable } from "../terminal/table.ts";
import { cutTo } from "../terminal/terminal-text.ts";
import { differences, daemonNotes } from "./config-daemon.ts";
import { shownProject } from "./config-project.ts";
import { type CommandIo, homeOf } from "../terminal/io.ts";

interface JsonOption {
  readonly json?: boolean;
}

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
  if (text === "" && given !== undefined && !(await exists(file))) {
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
async function loadAnyway(io: CommandIo): Promise<{
  readonly loaded: LoadedSettings;
  readonly view?: StoredProject;
  readonly problem?: OrchestratorError;
}> {
  const home = homeOf(io);
  const { environment, workingDirectory, userHome } = io;
  try {
    const base = await loadSettings({ home, environment, flags: {} });
    const { detect: detects } = base.settings.projects;
    const view = await viewProject({ home, workingDirectory, userHome, detects });
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

async function exists(file: string): Promise<boolean> {
  const { stat } = await import("node:fs/promises");
  return stat(file).then(
    () => true,
    () => false,
  );
}

export function fileOf(io: CommandIo): string {
  return path.join(homeOf(io), "config.yaml");
}
