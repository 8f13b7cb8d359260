import { type ShellCommand, repeated } from "./options.ts";

/** `ollm pipeline`. */
export function addPipelines(program: ShellCommand): void {
  const pipeline = program
    .command("pipeline")
    .description("run prompts in steps that build on each other")
    .helpCommand(false);
  pipeline
    .command("list")
    .description("list pipelines and their variables")
    .json("pipelines[{name, description, inputs, source, file}], problems")
    .loads(async () => (await import("./run-pipeline.ts")).listThem);
  pipeline
    .command("show")
    .argument("<pipeline>", "a name from ollm pipeline list, or a YAML file")
    .description("show its steps; with its variables also the models, loads, tokens and seconds of a run")
    .option("--var <name=value>", "variable; repeatable", repeated)
    .json("yaml, plan[{step, model, engine, load, prompts, prompt_tokens, seconds}], notes")
    .loads(async () => (await import("./run-pipeline.ts")).showOne);
  pipeline
    .command("run")
    .argument("<pipeline>", "a name from ollm pipeline list, or a YAML file")
    .description("run its steps and print what the last one answers; the same command continues a run")
    .option("--var <name=value>", "variable; repeatable", repeated)
    .option("--skip <step>", "leave a step out; repeatable", repeated)
    .option("-o, --output <file>", "write the answer to this file, overwriting it")
    .json("text, model, steps[{step, counts, skipped}], failures, asks, written, results, notes, job")
    .loads(async () => (await import("./run-pipeline.ts")).runOne);
  pipeline
    .command("new")
    .argument("<name>", "letters, digits, - and _")
    .argument("<goal>", "what it is to do")
    .description("have a model write a pipeline, read it, and save it as a YAML file")
    .json("name, file, yaml")
    .loads(async () => (await import("./run-pipeline.ts")).writeOne);
}
