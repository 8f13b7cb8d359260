import * as z from "zod";
import { advice, type NextSteps } from "../../../api/next-step.ts";
import { parseJson } from "../../../util/values.ts";

/** Media types of Ollama's layers; hf.co uses the same ones. */
export const MEDIA_TYPES = {
  manifest: "application/vnd.docker.distribution.manifest.v2+json",
  config: "application/vnd.docker.container.image.v1+json",
  model: "application/vnd.ollama.image.model",
  projector: "application/vnd.ollama.image.projector",
  adapter: "application/vnd.ollama.image.adapter",
  tensor: "application/vnd.ollama.image.tensor",
  system: "application/vnd.ollama.image.system",
  params: "application/vnd.ollama.image.params",
} as const;

/** Manifests of tensor-layer models have thousands of layers; a plain one has 2 kB. */
export const MAX_MANIFEST_BYTES = 8 * 1024 ** 2;

// Digests become file names: only 64 hex digits are accepted.
const digest = z
  .string()
  .regex(/^sha256:[0-9a-f]{64}$/, "digest is not sha256 with 64 hex digits")
  .transform((text) => text.slice("sha256:".length));

const layerSchema = z.object({
  mediaType: z.string().max(255),
  digest,
  size: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER),
});

const manifestSchema = z.object({
  // Cloud models have a config without a digest.
  config: z.preprocess(withoutEmptyDigest, layerSchema.optional()),
  layers: z.preprocess((value) => value ?? [], z.array(layerSchema).max(20_000)),
});

/** One blob that a manifest names; `digest` is 64 hex digits. */
export type Layer = z.output<typeof layerSchema>;

export type Manifest = z.output<typeof manifestSchema>;

/** Undefined for what it doesn't state. */
const stated = z
  .string()
  .nullish()
  .transform((text) => (text === null || text === "" || text === "unknown" ? undefined : text));
const configSchema = z.object({
  model_format: stated,
  model_family: stated,
  model_type: stated,
  file_type: stated,
  remote_host: stated,
});

/** The content of a config blob; every field is optional. */
type ModelConfig = z.output<typeof configSchema>;

const parametersSchema = z.record(z.string(), z.unknown());

/** Throws an `Error` with a short reason. */
export function parseManifest(raw: Uint8Array): Manifest {
  const value = readJson(raw);
  // Otherwise an index of images or an error document would be read as a model without layers.
  if (typeof value !== "object" || value === null || !("layers" in value)) throw new Error("it has no layers");
  return parseWith(manifestSchema, value);
}

/** Throws an `Error` with a short reason. */
export function parseConfig(raw: Uint8Array): ModelConfig {
  return parseWith(configSchema, readJson(raw));
}

/** Throws an `Error` with a short reason. */
export function parseParameters(raw: Uint8Array): Readonly<Record<string, unknown>> {
  return parseWith(parametersSchema, readJson(raw));
}

/** Every blob that a manifest names, each once. */
export function blobsOf(manifest: Manifest): readonly Layer[] {
  const all = manifest.config === undefined ? manifest.layers : [...manifest.layers, manifest.config];
  return [...new Map(all.map((layer) => [layer.digest, layer])).values()];
}

export function layersOf(manifest: Manifest, mediaType: string): readonly Layer[] {
  return manifest.layers.filter((layer) => layer.mediaType === mediaType);
}

/** For a model whose weights are only in Ollama's cloud. */
export const cloudSteps: NextSteps = [
  advice("use a tag without cloud in its name"),
  advice("run it with Ollama, which sends prompts to its cloud (privacy allow_remote)"),
];

/** Why the embedded engine can't run a model, and what to do instead; known before any download. */
export function unsupportedKind(
  manifest: Manifest,
  config?: ModelConfig,
): { readonly reason: string; readonly next: NextSteps } | undefined {
  if (layersOf(manifest, MEDIA_TYPES.tensor).length > 0 || config?.model_format === "safetensors") {
    return {
      reason: "its weights are tensor layers for MLX, not one GGUF file",
      next: [
        advice("use a tag without mlx in its name"),
        { step: "pullModelThat", that: "in GGUF format", example: "hf.co/ORG/REPO:QUANT" },
        advice("run it with Ollama on a Mac"),
      ],
    };
  }
  const weights = layersOf(manifest, MEDIA_TYPES.model);
  if (weights.length === 0 || config?.remote_host !== undefined) {
    return { reason: "it is a cloud model without weights to run here", next: cloudSteps };
  }
  if (weights.length > 1) {
    return {
      reason: `its weights are split into ${weights.length} files`,
      next: [advice("use another quantization, which is one file"), advice("run it with Ollama")],
    };
  }
  return undefined;
}

function withoutEmptyDigest(value: unknown): unknown {
  const isEmpty = typeof value === "object" && value !== null && "digest" in value && value.digest === "";
  return isEmpty || value === null ? undefined : value;
}

function readJson(raw: Uint8Array): unknown {
  try {
    return parseJson(Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength).toString("utf8"));
  } catch (error) {
    throw new Error("it is not JSON", { cause: error });
  }
}

function parseWith<Output>(schema: z.ZodType<Output>, value: unknown): Output {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new Error(`${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid"}`, { cause: result.error });
}
