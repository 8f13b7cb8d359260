import type { Command } from "commander";

/** The commands that people need first, in the order in which they need them. */
const firstCommands = ["setup", "run", "chat", "compare", "models", "pull", "rm", "ps", "stop", "doctor"];

const footer = `
Examples:
  ollm pull smollm2:135m           download a small model
  ollm run smollm2:135m            chat with it
  ollm run "Why is the sky blue?"  ask the best model
  ollm setup                       add it to your assistants

More:
  ollm help                        all commands
  ollm help <command>              the options of a command
`;

/** What `ollm` alone prints in a terminal: at most 30 lines at 80 columns. */
export function firstScreen(program: Command, columns: number): string {
  const help = program.createHelp();
  help.visibleCommands = () =>
    firstCommands.flatMap((name) => program.commands.filter((command) => command.name() === name));
  help.visibleOptions = () => [];
  help.commandUsage = () => "ollm <command> [options]";
  help.groupItems = (_all, visible) => new Map([["Commands:", visible]]);
  help.prepareContext({ helpWidth: columns });
  return `${help.formatHelp(program, help)}${footer}`;
}
