import * as z from "zod";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import type { Progress } from "../../orchestrator/api/types.ts";
import { defined } from "../../orchestrator/util/defined.ts";
import { sameModel } from "../../orchestrator/util/model-name.ts";
import { type Door, type DoorAnswer, type DoorCall, parsed } from "./door.ts";
import { type BareRequest, type ReadRequest, loading, nanoseconds, readChat, readPrompt } from "./ollama-chat.ts";
import { digestOf, listLoaded, listTags, modelNamed, showModel } from "./ollama-models.ts";

/** Programs ask for a version that has what they need: that of the API which is answered here. */
const apiVersion = "0.33.0";

export const ollama: Door = {
  name: "ollama",
  streamType: "application/x-ndjson",
  routes: {
    "GET /": answer(async () => "Ollama is running"),
    "GET /api/version": answer(async ({ version }) => ({ version: apiVersion, ollm: version })),
    "GET /api/tags": answer(listTags),
    "GET /api/ps": answer(listLoaded),
    "POST /api/show": answer(showModel),
    "POST /api/chat": { kind: "chat", read: (body) => chatOrBare(readChat(body)) },
    "POST /api/generate": { kind: "chat", read: (body) => chatOrBare(readPrompt(body)) },
    "POST /api/embed": answer(embed),
    "POST /api/embeddings": answer(embedOne),
    "POST /api/pull": answer(pull),
  },
  // Programs look for Ollama's words to decide whether to pull, or to ask again without tools.
  errorBody: ({ message, code }) => ({
    error:
      code === "unknown_model" && !message.includes("not found")
        ? `model not found: ${message}`
        : message.replace(/^(\S+) lacks (?=\w+\.)/, '"$1" does not support '),
  }),
};

function answer(made: DoorAnswer): Door["routes"][string] {
  return { kind: "answer", answer: made };
}

function chatOrBare(read: ReadRequest) {
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
