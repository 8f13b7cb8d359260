import { resolve } from "node:path";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import type { ToolInputs } from "../../tools/index.ts";
import type { CommandIo, JsonOption } from "../terminal/io.ts";
import { show } from "../terminal/terminal-text.ts";
import { withSession } from "../terminal/session.ts";
import { type ShellCommand, repeated } from "./options.ts";

/** `ollm pull`, `import`, `create` and `search`. */
export function addPull(program: ShellCommand): void {
  program
    .command("pull")
    .argument("<name>", "an Ollama name (smollm2:135m) or hf.co/<owner>/<repository>")
    .description("download a model; an interrupted download continues")
    .option("--engine <engine>", "ollama or llama-cpp (default: chosen)")
    .json("name, engine, size_bytes, digest, already_present")
    .does(pullModel);

  program
    .command("import")
    .argument("<file>", "a GGUF file")
    .argument("<name>", "its new name: my-model, my-model:7b")
    .description("add a local GGUF file to the model store")
    .json("name, engine, size_bytes, digest, already_present")
    .does(importModel);

  program
    .command("create")
    .argument("<name>", "its new name: my-model, my-model:7b")
    .option("--from <model>", "an installed model, whose weights are shared")
    .option("-f, --file <modelfile>", "read it all from a Modelfile: FROM, SYSTEM, PARAMETER, TEMPLATE, ADAPTER")
    .description("create a variant of a model")
    .option("--system <text>", "system prompt, replacing that of the base model")
    .option("--parameter <name=value>", "such as temperature=0.2 or stop=END; repeatable", repeated)
    .option("--adapter <file>", "LoRA adapter (GGUF)")
    .option("-y, --yes", "replace a model of that name without asking")
    .json("model, created{engine, size_bytes}")
    .loads(async () => (await import("./modelfile.ts")).createModel);
}

/** `ollm pull NAME`, with a progress bar, the speed and the remaining time. */
function pullModel(name: string, options: JsonOption & { readonly engine?: string }, io: CommandIo): Promise<number> {
  // A partial download is kept, and not listed as a model.
  const onInterrupt = `interrupted; run ollm pull ${name} again to continue`;
  return pull({ model: name, engine: options.engine }, onInterrupt, options, io);
}

/**
 * `ollm import FILE NAME`: adds a GGUF file to the model store, through the daemon, the only process
 * that writes to it.
 */
function importModel(file: string, name: string, options: JsonOption, io: CommandIo): Promise<number> {
  return pull(
    { model: name, from: resolve(io.workingDirectory, file) },
    `the import of ${name} was cancelled`,
    options,
    io,
  );
}

function pull(
  input: ToolInputs["pull_model"],
  onInterrupt: string,
  options: JsonOption,
  io: CommandIo,
): Promise<number> {
  return withSession(io, { onInterrupt }, async ({ call }) => {
    const { structured, text } = await call("pull_model", input, { progress: "always" });
    show(structured, options, io, () => `${oneLine(text)}\n`);
  });
}
