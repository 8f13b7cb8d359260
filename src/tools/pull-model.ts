import * as z from "zod";
import type { PullResult } from "../orchestrator/api/facade.ts";
import { defineTool } from "./definition.ts";
import { formatBytes } from "../orchestrator/util/format-bytes.ts";
import { defined, snakedOnly } from "../orchestrator/util/defined.ts";

/** Digits of a digest that are shown, as in `ollama list`. */
const shownDigits = 12;

/** The answer to a pull. */
export function pullAnswer(pulled: PullResult) {
  return defined({
    ...snakedOnly(pulled, ["name", "engine", "sizeBytes"]),
    digest: pulled.digest?.slice(0, shownDigits),
    already_present: pulled.wasAlreadyPresent,
  });
}

export const pullModel = defineTool({
  name: "pull_model",
  title: "Get a model",
  description:
    "Download a model by Ollama name (qwen3:4b-instruct) or hf.co/org/repo:quant; a second call joins or resumes. Installs the embedded engine if there is no other.",
  effect: "write",
  isIdempotent: true,
  isOpenWorld: true,
  set: "needed",
  canBecomeJob: true,
  input: z.strictObject({
    model: z.string().min(1).describe("Name to pull, or to import under."),
    from: z.string().min(1).optional().describe("Local GGUF file to import instead."),
    engine: z.string().optional().describe("ollama or llama-cpp."),
  }),
  output: z.object({
    name: z.string(),
    engine: z.string(),
    size_bytes: z.number(),
    digest: z.string().optional().describe("sha256 prefix."),
    already_present: z.boolean(),
  }),
  async run(input, { orchestrator, caller, files, follow }) {
    const from = input.from === undefined ? undefined : await files.locate(input.from);
    const operation = await orchestrator.pullModel(caller, defined({ model: input.model, from, engine: input.engine }));
    const pulled = await follow(operation);
    return { data: pullAnswer(pulled) };
  },
  render: ({ name, engine, size_bytes, already_present }) =>
    `${name} ${already_present ? "was already installed" : "is ready"} (${engine}, ${formatBytes(size_bytes)})`,
});
