import { type ShellCommand, repeated } from "./options.ts";

/** `ollm pipeline`. */
export function addPipelines(program: ShellCommand): void {
  const pipeline = program
    .command("pipeline")
    .description("run prompts in steps that build on each other")
    .helpCommand(false)
    .examples(
      ["ollm pipeline list", "all pipelines"],
      ["ollm pipeline run release-notes", "from the last 30 commits of this folder"],
    );
  pipeline
    .command("list")
    .description("list pipelines and their variables")
    .json("pipelines[{name, description, inputs, source, file}], problems")
    .examples(["ollm pipeline list", "all pipelines"])
    .loads(async () => (await import("./run-pipeline.ts")).listThem);
  pipeline
    .command("show")
    .argument("<pipeline>", "a name from ollm pipeline list, or a YAML file")
    .description("show its steps; with its variables also the models, loads, tokens and seconds of a run")
    .option("--var <name=value>", "variable; repeatable", repeated)
    .json("yaml, plan[{step, model, engine, load, prompts, prompt_tokens, seconds}], notes")
    .examples(["ollm pipeline show review-diff", "its steps, and what a run would take"])
    .loads(async () => (await import("./run-pipeline.ts")).showOne);
  pipeline
    .command("run")
    .argument("<pipeline>", "a name from ollm pipeline list, or a YAML file")
    .description("run its steps and print what the last one answers; the same command continues a run")
    .option("--var <name=value>", "variable; repeatable", repeated)
    .option("--skip <step>", "leave a step out; repeatable", repeated)
    .option("-o, --output <file>", "write the answer to this file, overwriting it")
    .json("text, model, steps[{step, counts, skipped}], failures, asks, written, results, notes, job")
    .examples(
      [
        'ollm pipeline run research-folder --var question="Who may delete data?" --var files="docs/*.md"',
        "notes, comparison, report",
      ],
      ["ollm pipeline run translate-check --var file=letter.txt --var language=French", "translate and check"],
    )
    .loads(async () => (await import("./run-pipeline.ts")).runOne);
  pipeline
    .command("new")
    .argument("<name>", "letters, digits, - and _")
    .argument("<goal>", "what it is to do")
    .description("have a model write a pipeline, read it, and save it as a YAML file")
    .json("name, file, yaml")
    .examples([
      'ollm pipeline new changes "Sum up the last commits of src and of docs, then compare them"',
      "write one",
    ])
    .loads(async () => (await import("./run-pipeline.ts")).writeOne);
}
