import * as z from "zod";
import { InvalidRequest, UnknownModel, undefinedIf } from "../orchestrator/api/errors.ts";
import type { ModelDescription, PullResult, UnloadedModel } from "../orchestrator/api/facade.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import { defined, snakedOnly } from "../orchestrator/util/values.ts";
import { counted, formatBytes } from "../orchestrator/util/format-bytes.ts";
import { sameModel } from "../orchestrator/util/model-name.ts";
import { confirmation, defineTool } from "./definition.ts";
import { asLine } from "./render.ts";

/** Digits of a digest that are shown, as in `ollama list`. */
const shownDigits = 12;

const detailsOutput = z.object({
  engine: z.string(),
  size_bytes: z.number(),
  status: z.string(),
  is_pinned: z.boolean().optional(),
  error: z.string().optional(),
  architecture: z.string().optional(),
  family: z.string().optional(),
  parameter_size: z.string().optional(),
  quantization: z.string().optional(),
  context_tokens: z.number().optional(),
  layer_count: z.number().optional(),
  capabilities: z.array(z.string()),
  profiles: z.array(z.string()).optional(),
  digest: z.string().optional(),
  system: z.string().optional(),
});

const actions = ["show", "delete", "unload", "unload_all", "pin", "unpin", "create"] as const;
const output = z.object({
  action: z.string(),
  model: z.string().optional(),
  details: detailsOutput.optional(),
  freed_bytes: z.number().optional(),
  created: z.object({ engine: z.string(), size_bytes: z.number() }).optional(),
  note: z.string().optional(),
  unloaded: z
    .array(
      z.object({
        name: z.string(),
        bytes: z.number(),
        was_pinned: z.boolean().optional(),
        also_answered_for: z.string().optional(),
      }),
    )
    .optional(),
});

/** What other tools do. */
const otherCalls: ReadonlyMap<unknown, string> = new Map([
  ["load", "call smart_load"],
  ["list", "call list_models"],
  ["pull", "call pull_model"],
  ["download", "call pull_model"],
]);

function actionOf(given: (typeof actions)[number]): unknown {
  const other = otherCalls.get(given);
  if (other !== undefined) throw new InvalidRequest(`manage_model does not ${given} models`, { next: advice(other) });
  return given;
}

export const manageModel = defineTool({
  name: "manage_model",
  title: "Manage a model",
  description:
    "unload frees memory; pin keeps a model loaded; delete removes it from disk (asks the user); create derives model from base, the rest as in a Modelfile (adapter: a LoRA GGUF).",
  effect: "destroy",
  whenCutOff: "check the list of models",
  input: z.strictObject({
    action: z.preprocess((given: (typeof actions)[number]) => actionOf(given), z.enum(actions)),
    model: z.string().min(1).optional(),
    confirm: z.boolean().optional().describe("The user agreed."),
    base: z.string().min(1).optional(),
    system: z.string().optional(),
    parameters: z.record(z.string(), z.unknown()).optional(),
    adapter: z.string().min(1).optional(),
    template: z.string().optional(),
  }),
  output,
  async run(input, { orchestrator, caller, files, report }) {
    const { action } = input;
    // Unloading needs no confirmation: the model is loaded again on demand.
    if (action === "unload_all") {
      const unloaded = await orchestrator.unloadModels(caller, undefined, report);
      return { data: { action, unloaded: unloaded.map(unloadedData) } };
    }
    const { model } = input;
    if (model === undefined) {
      throw new InvalidRequest(`manage_model ${action} needs a model`, {
        next: { step: "chooseModel", argument: "model" },
      });
    }
    switch (action) {
      case "show":
        return { data: { action, model, details: detailsData(await orchestrator.describeModel(caller, model)) } };
      case "unload": {
        const unloaded = await orchestrator.unloadModels(caller, model, report);
        return { data: { action, model, unloaded: unloaded.map(unloadedData) } };
      }
      case "pin":
      case "unpin":
        return { data: { action, model: await orchestrator.setPinned(caller, model, action === "pin") } };
      case "create": {
        const { base, system, parameters, adapter, template, confirm } = input;
        if (base === undefined) {
          throw new InvalidRequest("manage_model create needs a base", {
            next: { step: "chooseModel", argument: "base" },
          });
        }
        const described = confirm === true ? undefined : orchestrator.describeModel(caller, model);
        const existing = (await described?.catch(undefinedIf(UnknownModel)))?.model;
        if (existing !== undefined && sameModel(existing.name, model)) {
          return confirmation(
            `Replace ${existing.name} (${formatBytes(existing.sizeBytes)}, ${existing.engine})?`,
            "true replaces the model of that name",
          );
        }
        const { name, engine, sizeBytes } = await orchestrator.createModel(
          caller,
          {
            name: model,
            base,
            ...defined({ system, parameters, template, mayReplace: confirm }),
            ...(adapter === undefined ? {} : { adapter: await files.locate(adapter) }),
          },
          report,
        );
        return { data: { action, model: name, created: { engine, size_bytes: sizeBytes } } };
      }
      case "delete": {
        const { model: found } = await orchestrator.describeModel(caller, model, true);
        // What the engine refuses isn't asked for.
        if (input.confirm !== true && found.refuses?.includes("delete") !== true) {
          return confirmation(
            `Delete ${found.name} (${formatBytes(found.sizeBytes)}, ${found.engine}) from disk?`,
            "true deletes the model's files",
          );
        }
        const deleted = await orchestrator.deleteModel(caller, model);
        // Another model, or the imported file (a hard link), has the same weights.
        const isShared = deleted.freedBytes < found.sizeBytes / 2;
        const note = isShared ? "its weights are kept because another model or file uses them" : undefined;
        return { data: defined({ action, model: deleted.name, freed_bytes: deleted.freedBytes, note }) };
      }
    }
  },
  render: (answer) => `${summaryOf(answer)}${answer.note === undefined ? "" : `: ${answer.note}`}`,
});

function summaryOf({ action, model, details, freed_bytes, unloaded, created }: z.output<typeof output>): string {
  if (created !== undefined) return `Created ${model} (${created.engine}, ${formatBytes(created.size_bytes)})`;
  if (freed_bytes !== undefined) return `${model} deleted, ${formatBytes(freed_bytes)} freed`;
  if (unloaded !== undefined) {
    const names = unloaded
      .map(
        ({ name, bytes, was_pinned, also_answered_for }) =>
          `${name} (${formatBytes(bytes)}${was_pinned === true ? "; no longer pinned" : ""})${also_answered_for === undefined ? "" : `, which also served ${also_answered_for} (same weights)`}`,
      )
      .join(", ");
    if (names === "") return model === undefined ? "Nothing was loaded." : `${model} was not loaded.`;
    return `Unloaded ${names}`;
  }
  if (details !== undefined) return detailsText(model, details);
  return action === "pin"
    ? `${model} is pinned: once loaded it stays in memory until it is unpinned or the daemon exits`
    : `${model} is no longer pinned`;
}

function detailsText(model: string | undefined, details: z.output<typeof detailsOutput>): string {
  const { engine, status, is_pinned, error, context_tokens, capabilities, profiles, system } = details;
  const { architecture, family, layer_count, digest } = details;
  const size = details.size_bytes === 0 ? undefined : formatBytes(details.size_bytes);
  const kind = [family ?? architecture, details.parameter_size, details.quantization, size];
  const facts = [
    `${model}: ${kind.filter(Boolean).join(", ")}`,
    `${engine}, ${status}${is_pinned === true ? ", pinned" : ""}${error === undefined ? "" : ` (${error})`}`,
    context_tokens === undefined ? undefined : `context ${context_tokens}`,
    capabilities.join(", "),
    profiles?.length ? `profiles ${profiles.join(", ")}` : undefined,
    layer_count === undefined ? undefined : counted(layer_count, "layer"),
    digest && `digest ${digest.slice(0, shownDigits)}`,
  ].filter(Boolean);
  const first = facts.join("; ");
  return system === undefined ? first : `${first}\nsystem: ${asLine(system)}`;
}

function unloadedData({ name, bytes, wasPinned, alsoAnsweredFor }: UnloadedModel) {
  return defined({ name, bytes, was_pinned: wasPinned ? true : undefined, also_answered_for: alsoAnsweredFor });
}

function detailsData({ model, facts, database }: ModelDescription) {
  return defined({
    ...snakedOnly(model, ["engine", "sizeBytes", "status", "isPinned", "error"]),
    ...snakedOnly(facts, ["architecture", "layerCount", "capabilities", "digest", "system"]),
    family: model.family ?? database?.family,
    parameter_size: facts.parameterSize ?? model.parameterSize,
    quantization: facts.quantization ?? model.quantization,
    context_tokens: facts.contextTokens ?? model.contextTokens ?? database?.contextTokens,
    profiles: model.profiles?.length ? model.profiles : undefined,
  });
}

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
    "Download a model by Ollama name (qwen3:4b-instruct) or hf.co/org/repo:quant; a repeated call joins or resumes.",
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
