/** Lists and descriptions of models as Ollama's API tells them. */
import { createHash } from "node:crypto";
import * as z from "zod";
import type { ListedModel } from "../../orchestrator/api/facade.ts";
import type { Capability } from "../../orchestrator/api/types.ts";
import { defined } from "../../orchestrator/util/defined.ts";
import { sameModel } from "../../orchestrator/util/model-name.ts";
import { type DoorCall, parsed } from "./door.ts";

/** Go's zero of a time, with which Ollama itself says that one is unknown. */
const unknownTime = "0001-01-01T00:00:00Z";
/** For a model that stays loaded. */
const never = "9999-12-31T23:59:59Z";

/** `GET /api/tags`: the models, then the names by which one is chosen. */
export async function listTags({ orchestrator, caller }: DoorCall): Promise<object> {
  const { models } = await orchestrator.listModels(caller, { isInstalledOnly: true, isVerbose: true });
  const all = new Set(models.flatMap(({ capabilities = [] }) => capabilities));
  const profiles = orchestrator.profiles.list(caller).map(({ profile }) => profile.name);
  return {
    models: [
      ...models.map((model) => ({ ...rowOf(model), capabilities: model.capabilities ?? [] })),
      ...["auto", ...profiles].map((name) => ({
        name: `ollm/${name}`,
        model: `ollm/${name}`,
        modified_at: unknownTime,
        size: 0,
        digest: digestOf(name),
        details: detailsOf({}),
        // What those have among which one is chosen.
        ...(name === "auto" && { capabilities: [...all] }),
      })),
    ],
  };
}

/** `GET /api/ps` */
export async function listLoaded({ orchestrator, caller }: DoorCall): Promise<object> {
  const [{ models }, { loaded }] = await Promise.all([
    orchestrator.listModels(caller, { isLoadedOnly: true, isVerbose: true }),
    orchestrator.ramStatus(caller),
  ]);
  return {
    models: loaded.map(({ name, engine, bytes, processor, contextTokens = 0, expiresAt = never }) => {
      const known = models.find((model) => model.engine === engine && sameModel(model.name, name));
      const { name: _name, model: _model, modified_at: _at, ...row } = rowOf(known ?? { name });
      const [, percent = processor === "GPU" ? "100" : "0"] = /^(\d+)% GPU$/.exec(processor ?? "") ?? [];
      return {
        name,
        model: name,
        ...row,
        size: bytes,
        expires_at: expiresAt,
        size_vram: Math.round((bytes * Number(percent)) / 100),
        context_length: contextTokens,
      };
    }),
  };
}

const showBody = z.object({ model: z.string().nullish(), name: z.string().nullish() });

/** `POST /api/show`; of a name by which a model is chosen: that which would be chosen now. */
export async function showModel(call: DoorCall): Promise<object> {
  const { orchestrator, caller } = call;
  const { model: given, name: older } = parsed(showBody, call.body);
  const asked = given ?? older ?? "";
  const { model, facts } = await orchestrator.describeModel(caller, await modelNamed(call, asked));
  const architecture = facts.architecture ?? model.family ?? "unknown";
  const own = (key: string, value: number | undefined) => value !== undefined && { [`${architecture}.${key}`]: value };
  const parameters = Object.entries(facts.parameters ?? {}).flatMap(([name, value]) =>
    [value]
      .flat()
      .map((each) => `${name.padEnd(30)} ${typeof each === "string" ? JSON.stringify(each) : String(each)}`),
  );
  return {
    modelfile: [`FROM ${model.name}`, ...parameters.map((line) => `PARAMETER ${line}`)].join("\n"),
    ...(parameters.length > 0 && { parameters: parameters.join("\n") }),
    // Not told by engines; programs read the capabilities.
    template: "",
    ...defined({ system: facts.system }),
    details: detailsOf({ ...model, family: architecture }),
    model_info: {
      "general.architecture": architecture,
      ...own("context_length", model.contextTokens),
      ...own("block_count", facts.layerCount),
      ...own("embedding_length", facts.embeddingLength),
      ...facts.metadata,
    },
    capabilities: model.capabilities ?? facts.capabilities,
    modified_at: model.modifiedAt ?? unknownTime,
  };
}

/** The model of a name; for one by which a model is chosen, the choice for `needs`. Throws `UnknownModel`. */
export async function modelNamed({ orchestrator, caller, named }: DoorCall, asked: string): Promise<string> {
  const meant = named(asked);
  if (meant.model !== undefined) return meant.model;
  return (await orchestrator.planGeneration(caller, { prompt: "hello", ...meant })).model;
}

type Row = Pick<ListedModel, "name"> & Partial<ListedModel>;

function rowOf({ name, sizeBytes = 0, modifiedAt = unknownTime, digest, ...model }: Row) {
  return {
    name,
    model: name,
    modified_at: modifiedAt,
    size: sizeBytes,
    digest: digest ?? digestOf(name),
    details: detailsOf({ ...model, ...defined({ digest }) }),
  };
}

/** Programs cut it to twelve characters, and tell models and downloads apart by it. */
export function digestOf(name: string): string {
  return createHash("sha256").update(name).digest("hex");
}

interface Details extends Partial<
  Pick<ListedModel, "family" | "parameterSize" | "quantization" | "digest" | "contextTokens">
> {
  readonly capabilities?: readonly Capability[];
}

function detailsOf({ family = "", parameterSize = "", quantization = "", digest, contextTokens }: Details): object {
  return {
    parent_model: "",
    format: digest === undefined ? "" : "gguf",
    family,
    families: family === "" ? [] : [family],
    parameter_size: parameterSize,
    quantization_level: quantization,
    ...(contextTokens !== undefined && { context_length: contextTokens }),
  };
}
