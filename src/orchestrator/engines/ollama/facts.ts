import { LoadFailed, UnknownModel } from "../../api/errors.ts";
import type { Log } from "../../api/log.ts";
import type { ResidentModel } from "../engine.ts";
import { type Capability, type InstalledModel, type ModelFacts, type Trust, capabilities } from "../../api/types.ts";
import { JoinedWorks } from "../../util/joined-work.ts";
import { isCloudName, keyOfName } from "../../util/model-name.ts";
import type { OllamaHost } from "../../util/ollama-host.ts";
import { defined, jsonIn } from "../../util/values.ts";
import { usedMetadata, type InspectGguf, tensorTypes } from "../gguf/header.ts";
import { type Fields, countIn, fieldsOf, textIn } from "../generation.ts";
import type { AddressGuard } from "../address-guard.ts";
import { type OllamaTimeouts, controlCall, type OllamaTransport } from "./transport.ts";

/** How much of a model's parameters is read. Real ones have about a hundred characters. */
const maxParameterCharacters = 8 * 1024;

/** Maximum length of a name or version; longer ones are dropped. */
const maxNameCharacters = 500;

/** Returns the rows of `/api/tags` or `/api/ps`. Throws `SyntaxError` when the reply is not Ollama's. */
export function modelsOf(reply: unknown): readonly Fields[] {
  const models = fieldsOf(reply)["models"];
  if (!Array.isArray(models)) throw new SyntaxError("the reply has no list of models");
  return models.map(fieldsOf).filter((row) => nameOf(row).length <= maxNameCharacters);
}

/** Returns the version from `/api/version`. Throws `SyntaxError` when the reply is not Ollama's. */
export function versionOf(reply: unknown): string {
  const version = textIn(fieldsOf(reply)["version"]);
  if (version === undefined || version.length > maxNameCharacters) throw new SyntaxError("the reply has no version");
  return version;
}

const nameOf = (row: Fields): string => textIn(row["name"]) ?? textIn(row["model"]) ?? "";

/** Cloud models are remote on every server. */
function trustOf(row: Fields, hostTrust: Trust): Trust {
  const isCloud = textIn(row["remote_host"]) ?? textIn(row["remote_model"]) ?? isCloudName(nameOf(row));
  return isCloud ? "remote" : hostTrust;
}

/** Converts a row of `/api/tags`. */
function installedModel(row: Fields, hostTrust: Trust): InstalledModel {
  const details = fieldsOf(row["details"]);
  const isCloud = trustOf(row, "local") === "remote";
  return defined({
    name: nameOf(row),
    digest: textIn(row["digest"]),
    sizeBytes: isCloud ? 0 : (countIn(row["size"]) ?? 0),
    modifiedAt: textIn(row["modified_at"]),
    family: textIn(details["family"]),
    parameterSize: textIn(details["parameter_size"]),
    quantization: textIn(details["quantization_level"]),
    contextTokens: countIn(details["context_length"]),
    capabilities: listedCapabilities(row["capabilities"]),
    trust: trustOf(row, hostTrust),
  });
}

/** Converts a row of `/api/ps`. Its sizes are the runner's buffers; the file-mapped part is not reported. */
export function residentModel(row: Fields): ResidentModel {
  return defined({
    name: nameOf(row),
    digest: textIn(row["digest"]),
    sizeBytes: countIn(row["size"]) ?? 0,
    vramBytes: countIn(row["size_vram"]) ?? 0,
    contextTokens: countIn(row["context_length"]),
    expiresAt: textIn(row["expires_at"]),
  });
}

/** Combines `/api/show` with the model's row of `/api/tags`, which alone has size and digest. */
export function modelFacts(
  name: string,
  show: unknown,
  installed: InstalledModel | undefined,
  trust: Trust,
): ModelFacts {
  const reply = fieldsOf(show);
  const details = fieldsOf(reply["details"]);
  const info = fieldsOf(reply["model_info"]);
  const metadata = usedMetadata((key) => info[key], textIn(info["general.architecture"]));
  const architecture = textIn(metadata["general.architecture"]);
  const own = (key: string): number | undefined => countIn(metadata[`${architecture}.${key}`]);
  const shown = Array.isArray(reply["capabilities"]) ? knownCapabilities(reply["capabilities"]) : undefined;
  return defined({
    name,
    digest: installed?.digest,
    sizeBytes: installed?.sizeBytes ?? 0,
    architecture,
    parameterSize: textIn(details["parameter_size"]) ?? installed?.parameterSize,
    quantization: textIn(details["quantization_level"]) ?? installed?.quantization,
    contextTokens: own("context_length") ?? installed?.contextTokens,
    layerCount: own("block_count"),
    embeddingLength: own("embedding_length"),
    vocabularySize: vocabularyOf(reply["tensors"]) ?? own("vocab_size"),
    weightsBytes: tensorBytesOf(reply["tensors"]),
    weightsDigest: weightsOf(show),
    attachedDigests: attachedTo(show),
    capabilities: shown ?? installed?.capabilities ?? [],
    trust,
    system: textIn(reply["system"]),
    parameters: parametersOf(textIn(reply["parameters"])),
    metadata: Object.keys(metadata).length > 0 ? metadata : undefined,
  });
}

/** Returns the digest of the weights: the blob named in the generated Modelfile. */
export function weightsOf(show: unknown): string | undefined {
  return /^FROM .*sha256-([0-9a-f]{64})/m.exec(textIn(fieldsOf(show)["modelfile"]) ?? "")?.[1];
}

/** Returns the blobs of the Modelfile's further `FROM` and `ADAPTER` lines. */
function attachedTo(show: unknown): readonly string[] | undefined {
  const lines = (textIn(fieldsOf(show)["modelfile"]) ?? "").matchAll(/^(?:FROM|ADAPTER) .*sha256-([0-9a-f]{64})/gm);
  const digests = [...lines].map(([, digest]) => digest ?? "").slice(1);
  return digests.length === 0 ? undefined : digests;
}

/** Ollama's list reads no chat template of a file: completion alone may be with tools or thinking, which `/api/show` tells. */
function listedCapabilities(listed: unknown): readonly Capability[] | undefined {
  const known = Array.isArray(listed) ? knownCapabilities(listed) : undefined;
  return known?.join() === "completion" ? undefined : known;
}

function knownCapabilities(values: readonly unknown[]): readonly Capability[] {
  return capabilities.filter((capability) => values.includes(capability));
}

function vocabularyOf(tensors: unknown): number | undefined {
  if (!Array.isArray(tensors)) return undefined;
  const embedding = tensors.map(fieldsOf).find((tensor) => tensor["name"] === "token_embd.weight");
  return Array.isArray(embedding?.["shape"]) ? countIn(embedding["shape"][1]) : undefined;
}

/** Returns the bytes of all listed tensors; undefined when one has an unknown type. */
function tensorBytesOf(tensors: unknown): number | undefined {
  if (!Array.isArray(tensors) || tensors.length === 0) return undefined;
  let bytes = 0;
  for (const { type, shape } of tensors.map(fieldsOf)) {
    const layout = [...tensorTypes.values()].find(({ name }) => name === type);
    if (layout === undefined || !Array.isArray(shape)) return undefined;
    const numbers = shape.reduce<number>((product, each) => product * (countIn(each) ?? Number.NaN), 1);
    bytes += (numbers / layout.blockLength) * layout.blockBytes;
  }
  return Number.isFinite(bytes) ? Math.ceil(bytes) : undefined;
}

/** Parses lines of `name value`, where a value is JSON or a bare word; a repeated name (`stop`) becomes a list. */
function parametersOf(lines: string | undefined): Record<string, unknown> | undefined {
  if (lines === undefined) return undefined;
  const parameters: Record<string, unknown> = {};
  for (const line of lines.slice(0, maxParameterCharacters).split("\n")) {
    const [, name, raw] = /^(\S+)\s+(.+)$/.exec(line.trim()) ?? [];
    if (name === undefined || raw === undefined) continue;
    const read = jsonIn(raw);
    const value = read === undefined ? raw : read;
    const before = parameters[name];
    if (before === undefined) parameters[name] = value;
    else if (Array.isArray(before)) before.push(value);
    else parameters[name] = [before, value];
  }
  return parameters;
}

/** Dependencies shared by the adapter's groups of operations. */
export interface OllamaContext {
  readonly transport: OllamaTransport;
  readonly timeouts: OllamaTimeouts;
  readonly models: ReturnType<typeof createModels>;
  /** Checks the registry that Ollama would pull a name from. */
  readonly registries: AddressGuard;
  /**
   * The answers of each model: how many are under way, how many began, and when the latest that weren't alone streamed, by
   * the server's clock, so that it doesn't matter when their ends are read here.
   */
  readonly streams: Map<
    string,
    { underWay: number; begun: number; spans: readonly (readonly [from: number, to: number])[] }
  >;
  /** Checks an adapter file before it is uploaded. */
  readonly inspect?: InspectGguf;
  readonly now: () => number;
  readonly log: Log;
}

/** Ten thousand tensors take 800 kB, the rest of a real description about ten. */
const maxDescriptionBytes = 1_000_000;

/** How long a list serves descriptions: as long as the inventory keeps it without another. */
const listedMs = 5_000;

export function createModels(
  host: OllamaHost,
  trust: Trust,
  transport: OllamaTransport,
  timeouts: OllamaTimeouts,
  now: () => number,
) {
  /** The list that was requested last, by key of the name; the first model where several have one. */
  let newest = { models: new Map<string, InstalledModel>(), atMs: Number.NEGATIVE_INFINITY };
  const listings = new JoinedWorks<readonly InstalledModel[]>("listing models");

  const list = async (signal: AbortSignal): Promise<readonly InstalledModel[]> => {
    const atMs = now();
    const exchange = controlCall(timeouts, "listing models");
    const rows = await transport.ask(exchange, signal, async ({ ollama }) => modelsOf(await ollama.list()));
    const models = rows.map((row) => installedModel(row, trust));
    if (atMs >= newest.atMs)
      newest = { models: new Map(models.toReversed().map((model) => [keyOfName(model.name), model])), atMs };
    return models;
  };

  /** The row of a model. One list serves the descriptions of all: one for each would cost the square of their number. */
  const rowOf = async (model: string, signal: AbortSignal): Promise<InstalledModel | undefined> => {
    const key = keyOfName(model);
    // Whether a cloud model is still there is always looked up: its name must not leave this machine otherwise.
    if (isCloudName(model)) return (await list(signal)).find(({ name }) => keyOfName(name) === key);
    if (now() - newest.atMs > listedMs || !newest.models.has(key)) await listings.join("", list, signal);
    return newest.models.get(key);
  };

  const show = (model: string, signal: AbortSignal): Promise<unknown> =>
    transport.ask(
      { ...controlCall(timeouts, `describing ${model}`, model, LoadFailed), maxReplyBytes: maxDescriptionBytes },
      signal,
      ({ ollama }) => ollama.show({ model }),
    );

  return {
    /** Calls `/api/tags`. */
    list,
    /** Calls `/api/show` and returns the raw reply. Throws `UnknownModel`. */
    show,
    /** Throws `UnknownModel`, also for a cloud model that isn't listed. */
    async describe(model: string, signal: AbortSignal): Promise<ModelFacts> {
      // Ollama would ask its cloud about such a name, installed or not, and the name must not leave this machine.
      const shows = isCloudName(model) ? undefined : show(model, signal);
      const [installed, shown] = await Promise.all([rowOf(model, signal), shows]);
      if (!installed && shown === undefined)
        throw new UnknownModel(`Ollama at ${host.label} has no model ${model}`, {
          next: [{ step: "pullModel", model }, { step: "listModels" }],
        });
      return modelFacts(model, shown, installed, installed?.trust ?? trust);
    },
  };
}
