import { Argument, type Command } from "commander";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import { nearestNames } from "../orchestrator/util/nearest.ts";
import { version } from "../ipc/version.ts";
import { commandNamed, withExamples, withJson, type JsonOption, type Run } from "./command-options.ts";
import type { Shell } from "./commands/completion.ts";

/** Commands of similar programs that ollm lacks, with what to do instead. */
const absent: Readonly<Record<string, string>> = {
  cp: "copy a model under another name: ollm create NEW --from OLD",
  launch: "add ollm to your assistants: ollm setup",
  push: "upload a model with its registry's own program: ollm only downloads",
  signin: "no account is needed: models run on this machine",
  signout: "no account is needed: models run on this machine",
  start: "commands start the daemon when they need it; to start it ahead of use: ollm daemon start",
};

/** Commands that people know from other programs; all but `completion` are left out of the lists of commands. */
export function addHabits(program: Command, run: Run): void {
  addCompletion(program, run);
  program
    .command("help", { hidden: true })
    .description("show the help of a command")
    .argument("[command...]", "a command")
    .action((names: readonly string[]) => commandAt(program, names).outputHelp());
  withJson(program.command("version", { hidden: true }).description("print the version"), "version").action(
    (options: JsonOption) =>
      run((io) => {
        io.stdout(options.json === true ? `${JSON.stringify({ version })}\n` : `${version}\n`);
        return Promise.resolve(0);
      }),
  );
  for (const [name, instead] of Object.entries(absent)) {
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

function addCompletion(program: Command, run: Run): void {
  const completion = program
    .command("completion")
    .helpGroup("Set up:")
    .addArgument(new Argument("<shell>", "the shell").choices(["bash", "zsh", "fish", "powershell"]))
    .summary("print a script that completes commands with Tab")
    .description("print a script that completes commands, options and model names with Tab")
    .action((shell: Shell) => run(async (io) => (await import("./commands/completion.ts")).completion(shell, io)));
  withExamples(completion, [
    [`echo 'eval "$(ollm completion bash)"' >> ~/.bashrc`, "install it for bash; works in new terminals"],
    [`echo 'eval "$(ollm completion zsh)"' >> ~/.zshrc`, "install it for zsh; works in new terminals"],
    ["ollm completion fish > ~/.config/fish/completions/ollm.fish", "install it for fish; works in new terminals"],
    [
      "Add-Content $PROFILE 'ollm completion powershell | Out-String | iex'",
      "install it for PowerShell; works in new terminals",
    ],
  ]);
}
