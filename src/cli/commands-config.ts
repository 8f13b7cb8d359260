import type { Command } from "commander";
import { withExamples, withJson, type JsonOption, type Run } from "./command-options.ts";

/** The commands over `OLLM_HOME/config.yaml`; none of them needs the daemon. */
export function addConfig(program: Command, run: Run): void {
  program.commandsGroup("Set up:");
  const config = program
    .command("config")
    .description("the settings: what holds, from where; change them")
    .helpCommand(false);
  withExamples(config, [
    ["ollm config show", "what holds, and where it comes from"],
    ["ollm config set options.temperature 0.2", "change it"],
  ]);
  withExamples(
    withJson(
      config
        .command("show")
        .argument("[path]", "a setting or a section (default: all)")
        .description("list settings with their values and where each comes from: default, variable, file and line"),
      "settings[{path, value, source, scope}], problem",
    ),
    [
      ["ollm config show", "all of them"],
      ["ollm config show memory", "one section"],
    ],
  )
    .addHelpText("after", "Exit code 1 when the file is broken: the defaults are shown, and why.\n")
    .action((path: string | undefined, options: JsonOption) =>
      run(async (io) => (await import("./commands/config.ts")).configShow(path, options, io)),
    );
  withExamples(
    withJson(
      config
        .command("get")
        .argument("<path>", "a setting")
        .description("print one value; exit code 1 when it is not set"),
      "path, value, source, scope",
    ),
    [["ollm config get options.temperature", "0.7, unless you set it"]],
  ).action((path: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/config.ts")).configGet(path, options, io)),
  );
  withExamples(
    withJson(
      config
        .command("set")
        .argument("<path>", "a setting")
        .argument("<value>", "its value; lists with commas or as JSON, records as JSON")
        .description(
          "change one value in the file, keeping comments and all else; nothing is written unless it is right",
        ),
      "path, value, source, changed",
    ),
    [
      ["ollm config set options.temperature 0.2", "in force at once, also in clients that run"],
      ["ollm config set files.roots ~/notes,~/work", "a list"],
      [`ollm config set "models['qwen*'].contextTokens" 16384`, "of models by pattern"],
    ],
  ).action((path: string, value: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/config.ts")).configSet(path, value, options, io)),
  );
  withExamples(
    withJson(
      config
        .command("unset")
        .argument("<path>", "a setting, or a section")
        .description("take a setting out of the file, so that the default holds"),
      "path, source, changed",
    ),
    [[`ollm config unset "models['qwen*']"`, "all of one pattern"]],
  ).action((path: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/config.ts")).configSet(path, undefined, options, io)),
  );
  withExamples(
    config.command("edit").description("open a copy in $VISUAL or $EDITOR, and put it in place once it is right"),
    [["ollm config edit", "says what is wrong before it holds"]],
  ).action(() => run(async (io) => (await import("./commands/config-edit.ts")).configEdit(io)));
  withExamples(
    withJson(
      config
        .command("validate")
        .argument("[file]", "another file (default: the one in force)")
        .description("say whether a file would be obeyed, else what is wrong in which line"),
      "file, valid, problem",
    ),
    [["ollm config validate other.yaml", "before it takes the place of the one in force"]],
  ).action((file: string | undefined, options: JsonOption) =>
    run(async (io) => (await import("./commands/config.ts")).configValidate(file, options, io)),
  );
  withExamples(withJson(config.command("path").description("print where the file is, or would be"), "file, exists"), [
    ["ollm config path", "its name and nothing else"],
  ]).action((options: JsonOption) => run(async (io) => (await import("./commands/config.ts")).configPath(options, io)));
}
