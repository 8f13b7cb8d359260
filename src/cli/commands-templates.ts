import type { Command } from "commander";
import { repeated, withExamples, withJson, type JsonOption, type Run } from "./command-options.ts";
import type { CreateFlags } from "./commands/template.ts";

/** `ollm template`. */
export function addTemplates(program: Command, run: Run): void {
  program.commandsGroup("Context:");
  const template = program.command("template").description("manage prompts with variables").helpCommand(false);
  withExamples(template, [
    ["ollm template list", "all templates"],
    ["ollm template render commit-message --file git:staged --generate", "send one to a model"],
  ]);

  withExamples(
    withJson(
      template
        .command("list")
        .argument("[query]", "words of the name or description")
        .description("list templates and their variables; ? marks optional ones"),
      "templates[{name, description, variables, source, hides}], problems",
    ),
    [["ollm template list", "all templates"]],
  ).action((query: string | undefined, options: JsonOption) =>
    run(async (io) => (await import("./commands/template.ts")).listTemplates(query, options, io)),
  );

  withExamples(
    withJson(
      template
        .command("show")
        .argument("<name>", "a name from ollm template list")
        .description("show the text, variables and options of a template"),
      "name, description, template, variables, system, model, profile, options, format, source, file, hides",
    ),
    [["ollm template show summary", "its text and its variables"]],
  ).action((name: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/template.ts")).showTemplate(name, options, io)),
  );

  withExamples(
    withJson(
      template
        .command("render")
        .argument("<name>", "a name from ollm template list")
        .description("fill in a template and print it; piped input is its text, or its one missing variable")
        .option("--var <name=value>", "variable; repeatable", repeated)
        .option("-f, --file <path>", "file, or git:staged and the like, to use like piped input; repeatable", repeated)
        .option("--generate", "send it to a model and print the answer"),
      "text, system, model, finish_reason",
    ),
    [
      ["ollm template render translate --var language=French --var text=Hello", "print the prompt"],
      ["ollm template render commit-message --file git:staged --generate", "print a model's answer"],
      ["ollm template render summary --file report.md --generate", "use a file"],
    ],
  ).action(
    (name: string, options: JsonOption & { var?: readonly string[]; file?: readonly string[]; generate?: boolean }) =>
      run(async (io) => (await import("./commands/template.ts")).renderTemplate(name, options, io)),
  );

  withExamples(
    withJson(
      template
        .command("create")
        .argument("<name>", "letters, digits, - and _")
        .argument("[text]", "the text, with {variables} and {variables:default}")
        .description("save a template as a YAML file")
        .option("-f, --file <path>", "read the text from this file")
        .option("-d, --description <text>", "description")
        .option("-s, --system <text>", "system prompt")
        .option("--model <model>", "model to use")
        .option("--profile <name>", "fast, general, code or creative, in place of a model")
        .option("--project", "save it in the project of this folder")
        .option("--overwrite", "replace a template of that name"),
      "name, file, variables, hides, note",
    ),
    [
      ['ollm template create haiku "Write a haiku about {topic}."', "with the variable {topic}"],
      ["ollm template create letter --file letter.txt", "from a file"],
    ],
  ).action((name: string, text: string | undefined, options: CreateFlags) =>
    run(async (io) => (await import("./commands/template.ts")).createTemplate(name, text, options, io)),
  );

  withExamples(
    withJson(
      template
        .command("edit-path")
        .argument("<name>", "a name from ollm template list")
        .description("print the path of its file; a built-in template is copied first"),
      "name, file",
    ),
    [['code "$(ollm template edit-path summary)"', "edit it; changes apply once saved"]],
  ).action((name: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/template.ts")).templatePath(name, options, io)),
  );
}
