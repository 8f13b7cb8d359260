import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { ProgressResponse } from "ollama/browser";
import { InvalidRequest, LoadFailed, PullFailed, UnknownModel, throwIfCancelled } from "../../api/errors.ts";
import { advice } from "../../api/next-step.ts";
import type { InstalledModel } from "../../api/types.ts";
import { registryOf, sameModel } from "../../util/model-name.ts";
import { isOnThisMachine } from "../../util/ollama-host.ts";
import {
  type EngineCreation,
  type EngineLibrary,
  type ModelRecipe,
  type PulledModel,
  type Report,
  looksAlike,
} from "../engine.ts";
import { checkAdapter } from "../gguf/compatibility.ts";
import { controlCall, type Line } from "./transport.ts";
import { createSpeedMeter } from "../download.ts";
import { type OllamaContext, weightsOf } from "./facts.ts";
import { type Exchange, longCall } from "../transport.ts";
import { defined } from "../../util/values.ts";

/** Pull, import, create and delete. */
export class OllamaLibrary implements EngineLibrary {
  readonly #context: OllamaContext;
  readonly creation: EngineCreation = {
    hasTemplates: true,
    create: (recipe, report, signal) => this.#create(recipe, report, signal),
  };

  constructor(context: OllamaContext) {
    this.#context = context;
  }

  async pull(model: string, report: Report, signal: AbortSignal): Promise<PulledModel> {
    const { registries } = this.#context;
    // Ollama connects to the registry itself and follows redirects: only the name can be checked.
    const registry = registryOf(model);
    if (registry !== undefined) await registries.approve(registry);
    const before = await this.#find(model, signal);
    const isInsecure = registry !== undefined && isOnThisMachine(registry);
    let hasStarted = false;
    const noteStart: Report = (progress) => {
      hasStarted ||= progress.totalBytes !== undefined;
      report(progress);
    };
    try {
      await pull(this.#context, model, isInsecure, noteStart, signal);
    } catch (error) {
      const isInstalled = before !== undefined && !hasStarted && !signal.aborted && error instanceof PullFailed;
      if (!isInstalled) throw error;
      const present = await this.#added(model, before, signal);
      return { ...present, note: `it was not checked for a newer version: ${error.message}` };
    }
    return await this.#added(model, before, signal);
  }

  async import(file: string, name: string, report: Report, signal: AbortSignal): Promise<PulledModel> {
    throwIfCancelled(signal, `importing ${file}`);
    const { digest, bytes } = await digestOf(file, report, signal);
    const before = await this.#find(name, signal);
    await this.#upload(file, bytes, digest, report, signal);
    const exchange = {
      ...longCall(`importing ${file} as ${name}`, this.#context.timeouts.stallMs, name, LoadFailed),
      next: advice("check that the file is a complete GGUF file: compare its size or checksum with its source"),
    };
    await this.#make(exchange, { model: name, files: { "model.gguf": digest } }, report, signal);
    return await this.#added(name, before, signal);
  }

  async remove(model: string, signal: AbortSignal): Promise<{ readonly freedBytes: number }> {
    const { models: all, transport, timeouts } = this.#context;
    const models = await all.list(signal);
    const target = models.find(({ name }) => sameModel(name, model));
    const freedBytes = target === undefined ? 0 : await this.#ownBytes(target, models, signal);
    await transport.ask(controlCall(timeouts, `deleting ${model}`, model), signal, ({ ollama }) =>
      ollama.delete({ model }),
    );
    if (!target) throw new UnknownModel(`Ollama has no model ${model}`, { next: { step: "listModels" } });
    return { freedBytes };
  }

  async #create(recipe: ModelRecipe, report: Report, signal: AbortSignal): Promise<PulledModel> {
    const { name, base, system, template, parameters, adapterFile } = recipe;
    const { inspect, timeouts } = this.#context;
    const before = await this.#find(name, signal);
    if (adapterFile !== undefined) {
      await sizeOf(adapterFile);
      if (inspect !== undefined) await checkAdapter(inspect, adapterFile, adapterFile, signal);
    }
    const adapter = adapterFile === undefined ? undefined : await digestOf(adapterFile, report, signal);
    if (adapterFile !== undefined && adapter !== undefined)
      await this.#upload(adapterFile, adapter.bytes, adapter.digest, report, signal);
    const exchange = {
      ...longCall(`creating ${name} from ${base}`, timeouts.stallMs, base, PullFailed),
      ...(adapter === undefined
        ? {}
        : { next: advice("check that the adapter was made for this base model (Ollama's log has the details)") }),
    };
    const body = {
      model: name,
      from: base,
      ...defined({ system, template }),
      ...(Object.keys(parameters).length === 0 ? {} : { parameters }),
      ...(adapter === undefined ? {} : { adapters: { "adapter.gguf": adapter.digest } }),
    };
    await this.#make(exchange, body, report, signal);
    return await this.#added(name, before, signal);
  }

  /** Sends `/api/create`. */
  async #make(
    exchange: Exchange,
    body: { readonly model: string; readonly [key: string]: unknown },
    report: Report,
    signal: AbortSignal,
  ) {
    const take = ({ status }: Line): void => report({ message: `${body.model}: ${shortStatus(status)}` });
    await this.#context.transport.lines(
      exchange,
      { path: "/api/create", body: { ...body, stream: true } },
      take,
      signal,
    );
  }

  async #find(model: string, signal: AbortSignal): Promise<InstalledModel | undefined> {
    return (await this.#context.models.list(signal)).find(({ name }) => sameModel(name, model));
  }

  async #added(name: string, before: InstalledModel | undefined, signal: AbortSignal): Promise<PulledModel> {
    const after = await this.#find(name, signal);
    if (!after)
      throw new PullFailed(`Ollama reported ${name} as added but does not list it`, { next: { step: "retry" } });
    return {
      name,
      ...defined({ digest: after.digest }),
      sizeBytes: after.sizeBytes,
      wasAlreadyPresent: before !== undefined && before.digest === after.digest,
    };
  }

  /** Digest of a model's weights. The digests in Ollama's list are those of manifests, which differ between names. */
  async #weights({ name }: InstalledModel, signal: AbortSignal): Promise<string | undefined> {
    try {
      return weightsOf(await this.#context.models.show(name, signal));
    } catch (error) {
      throwIfCancelled(signal, `describing ${name}`);
      this.#context.log.debug(`ollama: ${name} could not be described: ${String(error)}`);
      return undefined;
    }
  }

  /** Bytes that no other name uses. */
  async #ownBytes(target: InstalledModel, all: readonly InstalledModel[], signal: AbortSignal): Promise<number> {
    const alike = all.filter((other) => other !== target && looksAlike(other, target));
    const wanted = alike.length === 0 ? undefined : await this.#weights(target, signal);
    const found = await Promise.all(alike.map((other) => this.#weights(other, signal)));
    const shared = alike.filter((_, index) => wanted !== undefined && found[index] === wanted);
    if (shared.length === 0) return target.sizeBytes;
    // The smallest model has the least besides the weights.
    return Math.max(0, target.sizeBytes - Math.min(...shared.map(({ sizeBytes }) => sizeBytes)));
  }

  async #upload(file: string, bytes: number, digest: string, report: Report, signal: AbortSignal): Promise<void> {
    const { transport, timeouts } = this.#context;
    const exchange = longCall(`sending ${file} to Ollama`, timeouts.stallMs, file, PullFailed);
    await transport.ask(exchange, signal, async ({ send }) => {
      if ((await send("HEAD", `/api/blobs/${digest}`, [200, 404])) === 200) return;
      const stream = counted(file, bytes, `sending ${file} to Ollama`, report);
      await send("POST", `/api/blobs/${digest}`, [200, 201], { stream, bytes });
    });
  }
}

async function digestOf(file: string, report: Report, signal: AbortSignal) {
  const bytes = await sizeOf(file);
  const hash = createHash("sha256");
  for await (const chunk of counted(file, bytes, `reading ${file}`, report)) {
    throwIfCancelled(signal, `reading ${file}`);
    hash.update(chunk);
  }
  return { digest: `sha256:${hash.digest("hex")}`, bytes };
}

async function sizeOf(file: string): Promise<number> {
  const { size } = await stat(file).catch((cause: unknown) => {
    throw unreadable(file, cause);
  });
  return size;
}

/** Yields the bytes of a file and reports progress in steps of one percent. */
async function* counted(file: string, totalBytes: number, message: string, report: Report): AsyncGenerator<Uint8Array> {
  let completedBytes = 0;
  let reported = -1;
  try {
    for await (const chunk of createReadStream(file, { highWaterMark: 1024 * 1024 })) {
      const bytes = chunk as Uint8Array;
      completedBytes += bytes.length;
      const step = Math.floor((completedBytes / totalBytes) * 100);
      if (step > reported) report({ message, completedBytes, totalBytes });
      reported = step;
      yield bytes;
    }
  } catch (cause) {
    // Translated here: the transport would report it as a connection error.
    throw unreadable(file, cause);
  }
}

function unreadable(file: string, cause: unknown): InvalidRequest {
  return new InvalidRequest(`the file ${file} cannot be read`, {
    next: advice("give the absolute path of a GGUF file"),
    cause,
  });
}

/** Bytes of one pull: Ollama reports each layer separately. */
type Layers = Map<string, { readonly completed: number; readonly total: number }>;

/** Manifests list about ten. */
const maxLayers = 1_000;
/** Enough for the lines of a pull that takes days. */
const maxPullBytes = 1_000_000_000;
/** Maximum length of a status in a message. */
const maxStatusCharacters = 200;

function addLine(layers: Layers, line: ProgressResponse): void {
  if (!line.digest || !line.total) return;
  if (layers.size >= maxLayers && !layers.has(line.digest))
    throw new PullFailed(`Ollama reported more than ${maxLayers} layers for the model`, {
      next: { step: "changeSetting", setting: "providers.ollama.host" },
    });
  layers.set(line.digest, { completed: line.completed ?? 0, total: line.total });
}

/** Pulls one model; `isInsecure`: over plain HTTP. Ollama keeps the data of a cancelled pull until the server restarts. */
async function pull(context: OllamaContext, model: string, isInsecure: boolean, report: Report, signal: AbortSignal) {
  const { timeouts, transport } = context;
  const stall = new AbortController();
  const either = AbortSignal.any([signal, stall.signal]);
  const layers: Layers = new Map();
  let lastAdvance = "";
  const speed = createSpeedMeter(context.now);
  let timer = setTimeout(() => stall.abort(), timeouts.pullStallMs);

  // Ollama repeats its line while nothing arrives, so only changing numbers count as progress.
  const watch = (line: ProgressResponse): void => {
    const advance = `${line.status} ${line.completed}`;
    if (advance === lastAdvance) return;
    lastAdvance = advance;
    clearTimeout(timer);
    // Verifying gigabytes takes minutes in which nothing is sent.
    timer = setTimeout(() => stall.abort(), line.digest ? timeouts.pullStallMs : timeouts.stallMs);
  };

  const exchange = {
    ...longCall(`pulling ${model}`, timeouts.stallMs, model, PullFailed, maxPullBytes),
    next: [
      { step: "resumePull", model } as const,
      advice("check the name and the connection to the registry"),
      { step: "importModel" } as const,
    ],
  };
  try {
    const body = { name: model, stream: true, ...(isInsecure && { insecure: true }) };
    const take = (sent: Line): void => {
      const line = { ...(sent as unknown as ProgressResponse), status: shortStatus(sent["status"]) };
      watch(line);
      addLine(layers, line);
      report(progressOf(model, line, layers, speed));
    };
    await transport.lines(exchange, { path: "/api/pull", body }, take, either);
  } catch (error) {
    if (!stall.signal.aborted || signal.aborted) throw error;
    const { completed, total } = sumOf(layers);
    throw new PullFailed(`the pull of ${model} stalled at ${completed} of ${total} bytes`, {
      next: { step: "resumePull", model },
      cause: error,
    });
  } finally {
    clearTimeout(timer);
  }
}

/** Returns Ollama's status, shortened for a message. */
function shortStatus(status: unknown): string {
  return String(status).slice(0, maxStatusCharacters);
}

function progressOf(model: string, line: ProgressResponse, layers: Layers, speed: ReturnType<typeof createSpeedMeter>) {
  const { completed, total } = sumOf(layers);
  if (total === 0) return { message: `${model}: ${line.status}` };
  const bytesPerSecond = speed(completed);
  return {
    message: line.digest ? `pulling ${model}` : `${model}: ${line.status}`,
    completedBytes: completed,
    totalBytes: total,
    ...defined({ bytesPerSecond }),
  };
}

function sumOf(layers: Layers): { readonly completed: number; readonly total: number } {
  let [completed, total] = [0, 0];
  for (const layer of layers.values()) [completed, total] = [completed + layer.completed, total + layer.total];
  return { completed, total };
}
