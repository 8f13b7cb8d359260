import type { Command } from "commander";
import { repeated, withExamples, withJson, type JsonOption, type Run } from "./command-options.ts";
import type { CreateFlags } from "./shell/template.ts";

/** `ollm template`. */
export function addTemplates(program: Command, run: Run): void {
  program.commandsGroup("Keep:");
  const template = program
    .command("template")
    .description("prompts with variables: those that come along, your own and the project's")
    .helpCommand(false);
  withExamples(template, [
    ["ollm template list", "what there is"],
    ["git diff --staged | ollm template render commit-message --generate", "ask a model with one"],
  ]);

  withExamples(
    withJson(
      template
        .command("list")
        .argument("[query]", "words of name or description")
        .description("list them with their variables; ? marks those that may be left out"),
      "templates[{name, description, variables, source, hides}], problems",
    ),
    [["ollm template list", "all of them"]],
  ).action((query: string | undefined, options: JsonOption) =>
    run(async (io) => (await import("./shell/template.ts")).listTemplates(query, options, io)),
  );

  withExamples(
    withJson(
      template
        .command("show")
        .argument("<name>", "as ollm template list shows it")
        .description("show one: its text, its variables, and how it is answered"),
      "name, description, template, variables, system, model, profile, options, format, source, file, hides",
    ),
    [["ollm template show summarise", "its text and its variables"]],
  ).action((name: string, options: JsonOption) =>
    run(async (io) => (await import("./shell/template.ts")).showTemplate(name, options, io)),
  );

  withExamples(
    withJson(
      template
        .command("render")
        .argument("<name>", "as ollm template list shows it")
        .description("fill one in and print it; what is piped in is its text, or the one variable it still needs")
        .option("--var <name=value>", "a variable; repeatable", repeated)
        .option("-f, --file <path>", "a file whose text goes where piped input would; repeatable", repeated)
        .option("--generate", "print a model's answer instead"),
      "text, system, model, finish_reason",
    ),
    [
      ["ollm template render translate --var language=French --var text=Hello", "the prompt"],
      ["git diff --staged | ollm template render commit-message --generate", "a model's answer"],
      ["ollm template render summarise --file report.md --generate", "of a file"],
    ],
  ).action(
    (name: string, options: JsonOption & { var?: readonly string[]; file?: readonly string[]; generate?: boolean }) =>
      run(async (io) => (await import("./shell/template.ts")).renderTemplate(name, options, io)),
  );

  withExamples(
    withJson(
      template
        .command("create")
        .argument("<name>", "letters, digits, - and _")
        .argument("[text]", "the text, with {variables} and {variables:default}")
        .description("save one as a YAML file")
        .option("-f, --file <path>", "take the text from this file")
        .option("-d, --description <text>", "what it is for")
        .option("-s, --system <text>", "the system prompt")
        .option("--model <name>", "the model that answers it")
        .option("--profile <name>", "fast, general, code or creative, instead of a model")
        .option("--project", "for the project here, not for yourself")
        .option("--overwrite", "replace the one of that name"),
      "name, file, variables, hides, note",
    ),
    [
      ['ollm template create haiku "Write a haiku about {topic}."', "{topic} is asked for"],
      ["ollm template create letter --file letter.txt", "from a file"],
    ],
  ).action((name: string, text: string | undefined, options: CreateFlags) =>
    run(async (io) => (await import("./shell/template.ts")).createTemplate(name, text, options, io)),
  );

  withExamples(
    withJson(
      template
        .command("edit-path")
        .argument("<name>", "as ollm template list shows it")
        .description("print its file; a built-in one is copied to your own first"),
      "name, file",
    ),
    [['code "$(ollm template edit-path summarise)"', "edit it; it holds as soon as it is saved"]],
  ).action((name: string, options: JsonOption) =>
    run(async (io) => (await import("./shell/template.ts")).templatePath(name, options, io)),
  );
}
