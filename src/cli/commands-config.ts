import type { Command } from "commander";
import { withExamples, withJson, type JsonOption, type Run } from "./command-options.ts";

/** `ollm config`: reads and changes `OLLM_HOME/config.yaml` without the daemon. */
export function addConfig(program: Command, run: Run): void {
  program.commandsGroup("Set up:");
  const config = program.command("config").description("show and change settings").helpCommand(false);
  withExamples(config, [
    ["ollm config show", "values and where they come from"],
    ["ollm config set options.temperature 0.2", "change one"],
  ]);
  withExamples(
    withJson(
      config
        .command("show")
        .argument("[setting]", "a setting or a section (default: all)")
        .description("list settings with their values and sources: default, variable, or file and line"),
      "settings[{path, value, source, scope}], problem",
    ),
    [
      ["ollm config show", "all settings"],
      ["ollm config show memory", "one section"],
    ],
  )
    .addHelpText("after", "Exit code 1 if the file is invalid: the error and the defaults are shown.\n")
    .action((path: string | undefined, options: JsonOption) =>
      run(async (io) => (await import("./commands/config.ts")).configShow(path, options, io)),
    );
  withExamples(
    withJson(
      config
        .command("get")
        .argument("<setting>", "a setting")
        .description("print one value; exit code 1 if it is not set"),
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
        .argument("<setting>", "a setting")
        .argument("<value>", "the value; lists comma-separated or as JSON, records as JSON")
        .description("change one value in the file, keeping comments; an invalid value is not written"),
      "path, value, source, changed",
    ),
    [
      ["ollm config set options.temperature 0.2", "takes effect at once"],
      ["ollm config set files.roots ~/notes,~/work", "a list"],
      [`ollm config set "models['qwen*'].contextTokens" 16384`, "for models by pattern"],
    ],
  ).action((path: string, value: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/config.ts")).configSet(path, value, options, io)),
  );
  withExamples(
    withJson(
      config
        .command("unset")
        .argument("<setting>", "a setting, or a section")
        .description("remove a setting from the file and return to its default"),
      "path, source, changed",
    ),
    [[`ollm config unset "models['qwen*']"`, "all settings of one pattern"]],
  ).action((path: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/config.ts")).configSet(path, undefined, options, io)),
  );
  withExamples(
    config.command("edit").description("edit a copy in $VISUAL or $EDITOR; it replaces the file once it is valid"),
    [["ollm config edit", "errors are shown before it takes effect"]],
  ).action(() => run(async (io) => (await import("./commands/config-edit.ts")).configEdit(io)));
  withExamples(
    withJson(
      config
        .command("validate")
        .argument("[file]", "the file (default: config.yaml)")
        .description("check a file and report errors with their lines"),
      "file, valid, problem",
    ),
    [["ollm config validate other.yaml", "check another file"]],
  ).action((file: string | undefined, options: JsonOption) =>
    run(async (io) => (await import("./commands/config.ts")).configValidate(file, options, io)),
  );
  withExamples(
    withJson(
      config.command("path").description("print the path of the file, even if it does not exist"),
      "file, exists",
    ),
    [["ollm config path", "the path and nothing else"]],
  ).action((options: JsonOption) => run(async (io) => (await import("./commands/config.ts")).configPath(options, io)));
}
