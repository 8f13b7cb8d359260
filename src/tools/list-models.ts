import * as z from "zod";
import type { ListedModel, ModelList, ModelSuggestion } from "../orchestrator/api/facade.ts";
import { capabilities as allCapabilities } from "../orchestrator/api/types.ts";
import { defineTool } from "./definition.ts";
import { formatBytes, formatNeed } from "../orchestrator/util/format-bytes.ts";
import { round } from "./render.ts";
import { defined, snaked, snakedOnly } from "../orchestrator/util/values.ts";

const fitOutput = z.object({
  predicted_bytes: z.number(),
  needed_bytes: z.number(),
  free_bytes: z.number(),
  method: z.string(),
  margin: z.number(),
});

const modelOutput = z.object({
  name: z.string(),
  engine: z.string(),
  size_bytes: z.number(),
  is_loaded: z.boolean(),
  is_pinned: z.boolean().optional(),
  fits: z.boolean().optional(),
  status: z.string().optional(),
  stale_since: z.string().optional(),
  error: z.string().optional(),
  is_remote: z.boolean().optional(),
  refuses: z.array(z.string()).optional(),
  family: z.string().optional(),
  quantization: z.string().optional(),
  parameter_size: z.string().optional(),
  context_tokens: z.number().optional(),
  capabilities: z.array(z.string()).optional(),
  profiles: z.array(z.string()).optional(),
  modified_at: z.string().optional(),
  last_used_at: z.string().optional(),
  fit: fitOutput.optional(),
  tokens_per_second: z.number().optional(),
  timed_tokens: z.number().optional(),
  prompt_tokens_per_second: z.number().optional(),
  expected_tokens_per_second: z.number().optional(),
  loaded_bytes: z.number().optional(),
});

export const listModels = defineTool({
  name: "list_models",
  title: "List local models",
  description: "List installed models: size, whether loaded, whether they fit. If none, suggests one.",
  effect: "read",
  set: "needed",
  input: z.strictObject({
    query: z.string().optional().describe("Part of the name or family."),
    capability: z.enum(allCapabilities).optional(),
    engine: z.string().optional(),
    loaded_only: z.boolean().optional(),
    verbose: z.boolean().optional().describe("Add capabilities, window, speed, memory."),
    limit: z.number().int().min(1).max(1000).default(50),
  }),
  output: z.object({
    models: z.array(modelOutput),
    total: z.number(),
    suggestion: z.object({ model: z.string(), reason: z.string() }).optional(),
    unreachable: z.array(z.string()).optional(),
  }),
  async run({ loaded_only: isLoadedOnly, verbose: isVerbose = false, ...filter }, { orchestrator, caller }) {
    const list = await orchestrator.listModels(caller, defined({ ...filter, isLoadedOnly, isVerbose }));
    const { suggestion, unreachable = [] } = list;
    return {
      data: defined({
        models: list.models.map((model) => modelData(model, list, isVerbose)),
        total: list.total,
        suggestion: suggestion && { model: suggestion.name, reason: reasonOf(suggestion) },
        unreachable: unreachable.length === 0 ? undefined : unreachable,
      }),
    };
  },
  lean({ models, ...rest }) {
    const isVerbose = models.some(({ profiles, capabilities }) => (profiles ?? capabilities) !== undefined);
    const engines = new Set(models.map(({ engine }) => engine));
    return {
      models: isVerbose ? models : models.map((model) => leanModel(model, engines.size > 1)),
      ...rest,
    };
  },
  render({ models, total, suggestion, unreachable = [] }) {
    if (models.length === 0) {
      if (suggestion === undefined) return "No model matches. Call list_models without arguments to list all.";
      const found =
        unreachable.length === 0 ? "No models yet." : `${unreachable.join("\n")}\nNo other engine has a model.`;
      return `${found} Call pull_model with model "${suggestion.model}": ${suggestion.reason}`;
    }
    const lines = models.map((model) => {
      const marks = [
        model.is_loaded ? "loaded" : model.status,
        isOnOtherMachine(model) ? "on another machine" : undefined,
        model.is_pinned === true ? "pinned" : undefined,
        model.fits === false ? "does not fit" : undefined,
        model.stale_since === undefined ? undefined : `engine down since ${model.stale_since}`,
        model.error,
      ].filter((mark) => mark !== undefined);
      const isInCloud = model.is_remote === true && !isOnOtherMachine(model);
      // Not every server tells it.
      const size = model.size_bytes === 0 ? [] : [formatBytes(model.size_bytes)];
      const facts = verboseFacts(model);
      return `${model.name} (${[model.engine, ...(isInCloud ? ["runs in the cloud"] : size), ...marks].join(", ")})${facts.length === 0 ? "" : `: ${facts.join("; ")}`}`;
    });
    lines.push(...unreachable);
    if (total > models.length) lines.push(`${total - models.length} more; raise limit or use query.`);
    return lines.join("\n");
  },
});

const alternativeTitles = { quick: "Quicker", vision: "Reads images" } as const;

/** One line for the best model, and one for each alternative, which the user may prefer. */
function reasonOf({ reason, alternatives }: ModelSuggestion): string {
  return [
    reason,
    ...alternatives.map((other) => `${alternativeTitles[other.kind]}: ${other.name} (${other.reason})`),
  ].join("\n");
}

/** The facts that only `verbose` adds. */
function verboseFacts(model: z.output<typeof modelOutput>): readonly string[] {
  const { family, parameter_size, quantization, context_tokens, capabilities, profiles, fit } = model;
  const { tokens_per_second, expected_tokens_per_second } = model;
  const kind = [family, parameter_size, quantization].filter((part) => part !== undefined);
  return [
    kind.length === 0 ? undefined : kind.join(" "),
    context_tokens === undefined ? undefined : `context ${context_tokens}`,
    capabilities && `can ${capabilities.join(", ")}`,
    profiles && profiles.length > 0 ? `profiles ${profiles.join(", ")}` : undefined,
    model.loaded_bytes === undefined
      ? fit &&
        `${formatNeed(fit.predicted_bytes, fit.needed_bytes)} (${fit.method}, ±${round(fit.margin * 100)} %), ${formatBytes(fit.free_bytes)} available`
      : `uses ${formatBytes(model.loaded_bytes)}`,
    tokens_per_second === undefined
      ? undefined
      : `${tokens_per_second} tokens/s${model.timed_tokens === undefined ? "" : ` (of ${model.timed_tokens} tokens)`}`,
    expected_tokens_per_second === undefined ? undefined : `about ${expected_tokens_per_second} tokens/s expected`,
    model.modified_at && `modified ${model.modified_at}`,
    model.last_used_at && `last used ${model.last_used_at}`,
  ].filter((fact) => fact !== undefined);
}

/** Only what is so of a model, and its engine if there are several. */
function leanModel(
  { engine, is_loaded, fits, ...model }: z.output<typeof modelOutput>,
  isEngineShown: boolean,
): Readonly<Record<string, unknown>> {
  return {
    ...model,
    ...(isEngineShown && { engine }),
    ...(is_loaded && { is_loaded }),
    ...(fits === false && { fits }),
  };
}

/** Whether its weights are on another server; cloud models have no size. */
function isOnOtherMachine(model: z.input<typeof modelOutput>): boolean {
  return model.is_remote === true && model.size_bytes > 0;
}

function modelData(model: ListedModel, list: ModelList, isVerbose: boolean) {
  const { fit } = model;
  const isPlain = model.status === "installed" || model.status === "loaded";
  return defined({
    ...snakedOnly(model, ["name", "engine", "sizeBytes", "isLoaded", "isPinned", "fits", "error"]),
    status: isVerbose || !isPlain ? model.status : undefined,
    stale_since: list.stale.find(({ engine }) => engine === model.engine)?.since,
    is_remote: model.trust === "remote" ? true : undefined,
    ...(isVerbose && {
      ...snakedOnly(model, ["family", "quantization", "parameterSize", "contextTokens", "capabilities", "profiles"]),
      ...snakedOnly(model, ["modifiedAt", "lastUsedAt", "refuses", "loadedBytes", "timedTokens"]),
      fit: fit && { ...snaked(fit), margin: round(fit.margin, 3) },
      tokens_per_second: round(model.tokensPerSecond),
      prompt_tokens_per_second: round(model.promptTokensPerSecond),
      expected_tokens_per_second: round(model.expectedTokensPerSecond),
    }),
  });
}
