import type { CommandIo, JsonOption } from "../terminal/io.ts";
import { type Command, CommanderError, Option } from "commander";
import { version } from "../../ipc/version.ts";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";
import { hasColours, terminalText } from "../terminal/terminal-text.ts";
import absent from "./absent.json" with { type: "json" };
import words from "./commands.json" with { type: "json" };
import { addCompare } from "./compare.ts";
import { addEval } from "./eval.ts";
import { addServer, addSetUp } from "./lazy.ts";
import { addMemories } from "./memory.ts";
import { addModels } from "./models.ts";
import { ShellCommand, commandNamed, emptyName, type Run, helpText, usageText } from "./options.ts";
import { addDelegate, addPipelines } from "./pipeline.ts";
import { addProfiles } from "./profiles.ts";
import { addProject } from "./project.ts";
import { addRate } from "./rate.ts";
import { addGeneration } from "./run.ts";
import { addStats } from "./stats.ts";
import { addLoaded, addStatus } from "./status.ts";
import { addTemplates } from "./template.ts";

const notes = `Also: ollm ls and ollm list (models), ollm logs (daemon logs), ollm help, ollm version.

Without arguments and with stdin not a terminal, ollm is the MCP server that an assistant starts.
It connects to the daemon and starts one if none is running.

Settings: OLLM_HOME/config.yaml and OLLM_* variables; OLLM_HOME defaults to ~/.ollm.

Exit codes: 0 success, 1 failed or refused, 2 wrong usage or an answer is needed, 3 the answer failed its check or
parts of its files are missing, 130 interrupted.
`;

/**
 * Creates the commands with their options and help. Each file here defines its commands and does
 * what they say; what only some commands need and takes long to load is imported when it runs. Parsing throws
 * `CommanderError` for wrong usage, and after help or the version was printed: see `usageError`.
 */
export function createCommands(run: Run): Command {
  const program = new ShellCommand("ollm", run)
    .description("Run local language models, and let your assistants use them.")
    .usage("[server options]\n       ollm <command> [options]")
    .version(version, "-v, --version", "print the version")
    .helpOption("-h, --help", "show help; also: ollm <command> --help")
    .helpCommand(false)
    // `--root` of a command is not that of the server.
    .enablePositionalOptions()
    .exitOverride()
    // Before the commands, which inherit it.
    // One cell less: some terminals begin a new line after the last one, and `helpText` would wrap again.
    .configureOutput({ writeOut: writeHelp, getOutHelpWidth: () => (process.stdout.isTTY ? helpColumns() - 1 : 80) });
  for (const option of serverOptions()) program.addOption(option.helpGroup("Server options:"));
  program.hook("preAction", (_program, command) => {
    const given = Object.keys(program.opts());
    const empty = emptyName(command);
    if (empty !== undefined) throw empty;
    if (given.length === 0) return;
    const flag = (given[0] ?? "").replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw new InvalidRequest(`--${flag} is an option of the server, not of ollm ${pathOf(command)}`, {
      next: { step: "showHelp", command: pathOf(command) },
    });
  });

  addGeneration(program);
  addDelegate(program);
  addCompare(program);
  addEval(program);
  addRate(program);
  addModels(program);
  addLoaded(program);
  addStats(program);
  addStatus(program);
  addMemories(program);
  addTemplates(program);
  addPipelines(program);
  addProject(program);
  addProfiles(program);
  addSetUp(program);
  addServer(program);
  addHabits(program);
  program.configureHelp({ subcommandTerm: (command) => command.name() });
  pointToHelp(program);
  addWords(program);
  program.addHelpText("after", notes);
  return program;
}

function writeHelp(page: string): void {
  const { stdout } = process;
  const columns = stdout.isTTY ? helpColumns() : undefined;
  stdout.write(terminalText(helpText(page, { columns, hasColour: hasColours(stdout) })));
}

/** The width of the terminal; some report 0. */
function helpColumns(): number {
  return process.stdout.columns || 80;
}

/** Makes each usage error point to the help of its command. */
function pointToHelp(command: Command): void {
  const next = (text: string): string => {
    if (command.parent !== null) {
      return `ollm ${pathOf(command)} --help ${command.commands.length > 0 ? "lists its commands" : "shows its usage"}`;
    }
    // The names of models, unlike those of commands, have digits.
    const [, model] = /unknown command '([\w./-]*\d[\w.:/-]*)'/.exec(text) ?? [];
    return model === undefined
      ? "ollm help lists commands and options"
      : `To use the model ${model}: ollm run ${model}`;
  };
  command.configureOutput({
    outputError: (text, write) => write(terminalText(`${usageText(text, command)}\n  ${next(text)}\n`)),
  });
  for (const child of command.commands) pointToHelp(child);
}

/**
 * Adds to each command what `commands.json` says of it: what it does, in fewer words where commands are listed, the value
 * that it prints as JSON, a note, and examples, each with its meaning.
 */
function addWords(command: Command): void {
  const known: Readonly<
    Record<string, { readonly [part in "about" | "summary" | "json" | "note"]?: string } & { examples: object }>
  > = words.commands;
  const own = known[pathOf(command)];
  if (own !== undefined && command instanceof ShellCommand) {
    const { about, summary, json, note, examples } = own;
    if (about !== undefined) command.description(about);
    if (summary !== undefined) command.summary(summary);
    if (json !== undefined) command.json(json);
    if (note !== undefined) command.addHelpText("after", `\n${note}`);
    command.examples(Object.entries(examples));
  }
  command.commands.forEach(addWords);
}

/** The exit code for an error of commander: 0 after help and version, 2 for wrong usage; undefined for other errors. */
export function usageError(error: unknown): number | undefined {
  if (!(error instanceof CommanderError)) return undefined;
  return error.exitCode === 0 ? 0 : 2;
}

/** The flags of `orchestrator/config/flags.ts` with their help; a test keeps both the same. */
function serverOptions(): readonly Option[] {
  return [
    new Option("--root <folder>", "folder whose files tools may read and write; repeatable"),
    new Option("--model <model>", "model used when a request names none"),
    new Option("--provider <engine>", "preferred engine if several have a model: ollama, llama-cpp"),
    new Option("--host <url>", "address of the Ollama server (default: http://127.0.0.1:11434)"),
    new Option("--temperature <number>", "sampling temperature, 0 to 2 (default: 0.7)"),
    new Option("--max-tokens <number>", "limit of tokens per answer (default: 4096)"),
    new Option("--context-size <tokens>", "minimum context window (default: what the prompt needs)"),
    new Option("--tools <names>", "tools to offer: default, all, or comma-separated names"),
    new Option("--standalone", "run in one process, without a daemon"),
  ];
}

function pathOf(command: Command): string {
  const parent = command.parent;
  return parent?.parent ? `${pathOf(parent)} ${command.name()}` : command.name();
}

/** Commands that people know from other programs, of which `absent` says what to do instead; left out of the lists of commands. */
function addHabits(program: ShellCommand): void {
  program
    .command("help", { hidden: true })
    .description("show the help of a command")
    .argument("[command...]", "a command")
    .action((names: readonly string[]) => commandAt(program, names).outputHelp());
  program
    .command("version", { hidden: true })
    .description("print the version")
    .json("version")
    .does((options: JsonOption, io: CommandIo) => {
      io.stdout(options.json === true ? `${JSON.stringify({ version })}\n` : `${version}\n`);
      return Promise.resolve(0);
    });
  for (const [name, instead] of Object.entries<string>(absent)) {
    program
      .command(name, { hidden: true })
      .helpOption(false)
      .allowUnknownOption()
      .allowExcessArguments()
      .action(() => {
        throw new InvalidRequest(`ollm has no command ${name}`, { next: advice(instead) });
      });
  }
}

/** The command at a path: `config set`. An unknown name is wrong usage of the command before it. */
function commandAt(program: Command, names: readonly string[]): Command {
  return names.reduce((parent, name) => {
    const found = commandNamed(parent, name);
    if (found !== undefined) return found;
    const known = parent.createHelp().visibleCommands(parent);
    const [close] = nearestNames(
      name,
      known.map((each) => each.name()),
      1,
    );
    const suggestion = close === undefined ? "" : `\n(Did you mean ${close}?)`;
    return parent.error(`error: unknown command '${name}'${suggestion}`);
  }, program);
}
