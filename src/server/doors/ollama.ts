import { createHash } from "node:crypto";
import * as z from "zod";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import type { ListedModel } from "../../orchestrator/api/facade.ts";
import type { Progress } from "../../orchestrator/api/types.ts";
import { defined } from "../../orchestrator/util/values.ts";
import { sameModel } from "../../orchestrator/util/model-name.ts";
import { type Door, type DoorCall, chosenNames, parsed } from "./door.ts";
import { type BareRequest, loading, nanoseconds, readChat, readPrompt } from "./ollama-chat.ts";

/** Programs ask for a version that has what they need: that of the API which is answered here. */
const apiVersion = "0.33.0";
/** Go's zero of a time, with which Ollama itself says that one is unknown. */
const unknownTime = "0001-01-01T00:00:00Z";
/** For a model that stays loaded. */
const never = "9999-12-31T23:59:59Z";

export const ollama: Door = {
  name: "ollama",
  streamType: "application/x-ndjson",
  routes: {
    "GET /": () => async () => "Ollama is running",
    "GET /api/version":
      () =>
      async ({ version }) => ({ version: apiVersion, ollm: version }),
    "GET /api/tags": () => listTags,
    "GET /api/ps": () => listLoaded,
    "POST /api/show": () => showModel,
    "POST /api/chat": (body) => chatOrBare(readChat(body)),
    "POST /api/generate": (body) => chatOrBare(readPrompt(body)),
    "POST /api/embed": () => embed,
    "POST /api/embeddings": () => embedOne,
    "POST /api/pull": () => pull,
  },
  // Programs look for Ollama's words to decide whether to pull, or to ask again without tools.
  errorBody: ({ message, code }) => ({
    error:
      code === "unknown_model" && !message.includes("not found")
        ? `model not found: ${message}`
        : message.replace(/^(\S+) lacks (?=\w+\.)/, '"$1" does not support '),
  }),
};

function chatOrBare(read: ReturnType<typeof readChat>) {
  return "chat" in read ? read.chat : (call: DoorCall) => loadOrUnload(call, read.bare);
}

/** A request without a prompt. */
async function loadOrUnload(call: DoorCall, bare: BareRequest): Promise<object> {
  const { orchestrator, caller } = call;
  const { model, part, contextTokens, keepAliveSeconds } = bare;
  const startedAtMs = Date.now();
  const name = await modelNamed(call, model);
  const end = (reason: "load" | "unload", more: object = {}) => ({
    model,
    created_at: new Date().toISOString(),
    ...part,
    done: true,
    done_reason: reason,
    ...more,
  });
  if (keepAliveSeconds === 0) {
    const { loaded } = await orchestrator.ramStatus(caller);
    // The user said so.
    if (loaded.some((each) => each.isPinned === true && sameModel(each.name, name)))
      throw new InvalidRequest(`${name} is pinned and stays loaded`, { next: { step: "unpinModels", models: [name] } });
    await orchestrator.unloadModels(caller, name);
    return end("unload");
  }
  const { name: found, contextTokens: window } = (await orchestrator.describeModel(caller, name)).model;
  const operation = await orchestrator.loadModel(caller, {
    model: name,
    // Ollama, too, loads with its window at most.
    ...defined({
      contextTokens: contextTokens && Math.min(contextTokens, window ?? contextTokens),
      keepAliveSeconds,
    }),
  });
  const { loadMs } = await operation.follow(caller.signal);
  call.told({ model: found, loadMs });
  return end("load", { total_duration: nanoseconds(Date.now() - startedAtMs), load_duration: nanoseconds(loadMs) });
}

const embedBody = z.object({
  ...loading,
  input: z.union([z.string(), z.array(z.string())]).nullish(),
  dimensions: z.number().int().min(0).nullish(),
});

async function embed(call: DoorCall): Promise<object> {
  const { model, input, dimensions } = parsed(embedBody, call.body);
  const texts = [input ?? []].flat();
  const { vectors, ...spent } = await vectorsOf(call, model, texts);
  return {
    model,
    embeddings: vectors.map((vector) => unit(dimensions ? vector.slice(0, dimensions) : vector)),
    total_duration: nanoseconds(spent.totalMs),
    load_duration: nanoseconds(spent.queueMs + spent.loadMs),
    prompt_eval_count: spent.promptTokens,
  };
}

const embedOneBody = z.object({ ...loading, prompt: z.string().nullish() });

async function embedOne(call: DoorCall): Promise<object> {
  const { model, prompt } = parsed(embedOneBody, call.body);
  const { vectors } = await vectorsOf(call, model, prompt ? [prompt] : []);
  return { embedding: vectors[0] ?? [] };
}

async function vectorsOf(call: DoorCall, asked: string, texts: readonly string[]) {
  const { orchestrator, caller, named } = call;
  if (texts.length > 0) {
    const embedded = await orchestrator.embed(caller, { ...defined({ model: named(asked).model }), texts });
    call.told(embedded);
    return embedded;
  }
  const none = { vectors: [], promptTokens: 0, queueMs: 0 };
  const operation = await orchestrator.loadModel(caller, { model: await modelNamed(call, asked) });
  const { loadMs } = await operation.follow(caller.signal);
  return { ...none, loadMs, totalMs: loadMs };
}

/** Ollama's have length 1, too. */
function unit(vector: readonly number[]): readonly number[] {
  const length = Math.hypot(...vector);
  return length === 0 ? vector : vector.map((each) => each / length);
}

const pullBody = z.object({ model: z.string().nullish(), name: z.string().nullish(), stream: z.boolean().nullish() });

async function pull({ orchestrator, caller, body, named, write }: DoorCall): Promise<object | undefined> {
  const { model: given, name, stream } = parsed(pullBody, body);
  const { model } = named(given ?? name ?? "");
  // `ollm/...` stands for what is installed; as a registry's host or namespace it would be looked up.
  if (model === undefined) return { status: "success" };
  const operation = await orchestrator.pullModel(caller, { model });
  // With Ollama, too, a program that goes away ends its download, of which the part that arrived is kept.
  const gone = new AbortController();
  caller.signal.addEventListener("abort", () => gone.abort("cancelled"), { once: true });
  if (caller.signal.aborted) gone.abort("cancelled");
  const isStream = stream !== false;
  const digest = digestOf(model);
  const tell = ({ message, completedBytes: completed, totalBytes: total }: Progress): void => {
    const status = message.startsWith(`${model}: `) ? message.slice(model.length + 2) : message;
    // Its parts are one download here; programs show a bar for each digest.
    if (total === undefined) write({ status });
    else
      write({ status: `pulling ${digest.slice(0, 12)}`, digest: `sha256:${digest}`, total, ...defined({ completed }) });
  };
  if (isStream) write({ status: "pulling manifest" });
  await operation.follow(gone.signal, isStream ? tell : undefined);
  if (!isStream) return { status: "success" };
  write({ status: "success" });
  return undefined;
}

/** `GET /api/tags`: the models, then the names by which one is chosen. */
async function listTags({ orchestrator, caller }: DoorCall): Promise<object> {
  const { models } = await orchestrator.listModels(caller, { isInstalledOnly: true, isVerbose: true });
  const all = new Set(models.flatMap(({ capabilities = [] }) => capabilities));
  return {
    models: [
      ...models.map((model) => ({ ...rowOf(model), capabilities: model.capabilities ?? [] })),
      ...chosenNames({ orchestrator, caller }).map((name) => ({
        ...rowOf({ name }),
        // What those have among which one is chosen.
        ...(name === "ollm/auto" && { capabilities: [...all] }),
      })),
    ],
  };
}

/** `GET /api/ps` */
async function listLoaded({ orchestrator, caller }: DoorCall): Promise<object> {
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
async function showModel(call: DoorCall): Promise<object> {
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
async function modelNamed({ orchestrator, caller, named }: DoorCall, asked: string): Promise<string> {
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
function digestOf(name: string): string {
  return createHash("sha256").update(name).digest("hex");
}

function detailsOf({
  family = "",
  parameterSize = "",
  quantization = "",
  digest,
  contextTokens,
}: Partial<ListedModel>): object {
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
