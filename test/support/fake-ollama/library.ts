import { createHash } from "node:crypto";
import type { Exchange } from "./exchange.ts";
import { vendorErrors, type FakeModel, type FakeOllamaOptions } from "./types.ts";

const sha256 = (data: string | Buffer): string => createHash("sha256").update(data).digest("hex");

/** sha256 hex of the weights blob. */
export function weightsOf(model: FakeModel): string {
  return model.weights ?? sha256(`weights of ${model.name}`);
}

/** sha256 hex of the manifest, as `/api/tags` and `/api/ps` print it. */
export function digestOf(model: FakeModel): string {
  return sha256(
    `manifest of ${weightsOf(model)} ${model.system ?? ""} ${model.template ?? ""} ${model.parameters ?? ""}`,
  );
}

/** `:latest` for a name without a tag; names are compared without regard to case. */
export function findModel(models: Map<string, FakeModel>, name: string): FakeModel | undefined {
  const wanted = fullName(name).toLowerCase();
  return [...models.values()].find((model) => model.name.toLowerCase() === wanted);
}

function fullName(name: string): string {
  return name.lastIndexOf(":") > name.lastIndexOf("/") ? name : `${name}:latest`;
}

export function detailsOf(model: FakeModel): Record<string, unknown> {
  const family = model.architecture ?? "llama";
  return {
    parent_model: "",
    format: model.remoteHost === undefined ? "gguf" : "",
    family,
    families: [family],
    parameter_size: model.parameterSize ?? "134.52M",
    quantization_level: model.quantization ?? "Q4_1",
  };
}

/** Ollama accepts `model` and, from old clients, `name`. */
function nameIn(exchange: Exchange): string {
  const { model, name } = exchange.request.body;
  return typeof model === "string" ? model : typeof name === "string" ? name : "";
}

const modifiedAt = "2026-11-21T08:05:03.056328523Z";

export interface FakeLibrary {
  tags(exchange: Exchange): Promise<void>;
  show(exchange: Exchange): Promise<void>;
  pull(exchange: Exchange): Promise<void>;
  create(exchange: Exchange): Promise<void>;
  remove(exchange: Exchange): Promise<void>;
  headBlob(exchange: Exchange, digest: string): void;
  postBlob(exchange: Exchange, digest: string): Promise<void>;
}

export function createFakeLibrary(options: FakeOllamaOptions, models: Map<string, FakeModel>): FakeLibrary {
  /** Uploaded blobs by digest (`sha256:hex`). */
  const blobs = new Map<string, Buffer>();
  /** Bytes of cancelled pulls, like Ollama's partial files. */
  const partials = new Map<string, number>();

  const isBlob = (digest: string): boolean =>
    blobs.has(digest) || [...models.values()].some((model) => `sha256:${weightsOf(model)}` === digest);

  async function* pullLines(exchange: Exchange, name: string): AsyncGenerator {
    yield { status: "pulling manifest" };
    const present = findModel(models, name);
    const model = present ?? options.registry?.find((candidate) => candidate.name === fullName(name));
    if (!model) {
      yield { error: "pull model manifest: file does not exist" };
      return;
    }
    const weights = weightsOf(model);
    const total = model.sizeBytes ?? 98_362_745;
    const line = (completed: number) => ({
      status: `pulling ${weights.slice(0, 12)}`,
      digest: `sha256:${weights}`,
      total,
      completed,
    });
    let completed = present ? total : (partials.get(weights) ?? 0);
    yield line(completed);
    while (completed < total) {
      if (options.pullBytesPerSecond) await exchange.pause(20);
      const step = options.pullBytesPerSecond ? options.pullBytesPerSecond / 50 : total / 10;
      completed = Math.min(total, Math.ceil(completed + step));
      partials.set(weights, completed);
      yield line(completed);
    }
    yield { status: "verifying sha256 digest" };
    yield { status: "writing manifest" };
    models.set(model.name, model);
    yield { status: "success" };
  }

  async function* createLines(name: string, files: Record<string, string>): AsyncGenerator {
    const digest = Object.values(files)[0] ?? "";
    yield { status: "parsing GGUF" };
    const content = blobs.get(digest);
    const isKnown = [...models.values()].some((model) => `sha256:${weightsOf(model)}` === digest);
    if (!isKnown && content?.subarray(0, 4).toString("latin1") !== "GGUF") {
      yield { error: "supplied file was not in GGUF format" };
      return;
    }
    yield { status: "verifying conversion" };
    yield { status: `using existing layer ${digest}` };
    yield { status: "writing manifest" };
    const full = fullName(name);
    models.set(full, {
      name: full,
      weights: digest.replace("sha256:", ""),
      ...(content ? { sizeBytes: content.length } : {}),
    });
    yield { status: "success" };
  }

  /** Creates a model with the weights of another one. */
  async function* createFromLines(name: string, body: Readonly<Record<string, unknown>>): AsyncGenerator {
    const base = findModel(models, String(body["from"]));
    if (!base) {
      yield { error: `pull model manifest: file does not exist` };
      return;
    }
    const adapters = Object.values((body["adapters"] ?? {}) as Record<string, string>);
    if (adapters.some((digest) => !blobs.has(digest))) {
      yield { error: "blob not found" };
      return;
    }
    yield { status: `using existing layer sha256:${weightsOf(base)}` };
    yield { status: "writing manifest" };
    const full = fullName(name);
    const given = Object.entries((body["parameters"] ?? {}) as Record<string, unknown>);
    const lines = given.flatMap(([key, value]) => [value].flat().map((each) => `${key} ${JSON.stringify(each)}`));
    models.set(full, {
      ...base,
      name: full,
      weights: weightsOf(base),
      ...(typeof body["system"] === "string" ? { system: body["system"] } : {}),
      ...(typeof body["template"] === "string" ? { template: body["template"] } : {}),
      ...(lines.length === 0 ? {} : { parameters: lines.join("\n") }),
      ...(adapters.length === 0 ? {} : { adapters }),
    });
    yield { status: "success" };
  }

  return {
    tags: (exchange) =>
      exchange.json(200, {
        models: [...models.values()].map((model) => ({
          name: model.name,
          model: model.name,
          ...(model.remoteHost === undefined
            ? {}
            : { remote_model: model.name.replace(/[:-]cloud$/, ""), remote_host: model.remoteHost }),
          modified_at: model.modifiedAt ?? modifiedAt,
          size: model.remoteHost === undefined ? (model.sizeBytes ?? 98_362_745) : 384,
          digest: digestOf(model),
          details: { ...detailsOf(model), context_length: model.contextTokens ?? 8_192, embedding_length: 576 },
          capabilities: model.capabilities ?? ["completion"],
        })),
      }),

    async show(exchange) {
      const name = nameIn(exchange);
      const model = findModel(models, name);
      if (!model) return await exchange.error(404, vendorErrors.notFound(fullName(name)));
      const architecture = model.architecture ?? "llama";
      const vocabularySize = model.vocabularySize ?? 49_152;
      await exchange.json(200, {
        modelfile: [
          '# Modelfile generated by "ollama show"',
          `FROM /models/blobs/sha256-${weightsOf(model)}`,
          ...(model.adapters ?? []).map((digest) => `ADAPTER /models/blobs/${digest.replace(":", "-")}`),
          "",
        ].join("\n"),
        ...(model.parameters === undefined ? {} : { parameters: model.parameters }),
        template: model.template ?? "{{ .Prompt }}",
        ...(model.system === undefined ? {} : { system: model.system }),
        details: detailsOf(model),
        ...(model.remoteHost === undefined ? {} : { remote_host: model.remoteHost }),
        model_info: {
          "general.architecture": architecture,
          "general.file_type": 3,
          "general.languages": null,
          "general.parameter_count": 134_515_008,
          [`${architecture}.attention.head_count`]: 9,
          [`${architecture}.attention.head_count_kv`]: 3,
          [`${architecture}.block_count`]: 30,
          [`${architecture}.context_length`]: model.contextTokens ?? 8_192,
          [`${architecture}.embedding_length`]: 576,
          [`${architecture}.feed_forward_length`]: 1_536,
          [`${architecture}.vocab_size`]: vocabularySize,
          "tokenizer.ggml.model": "gpt2",
          "tokenizer.ggml.tokens": null,
          ...model.metadata,
        },
        tensors: [
          { name: "output_norm.weight", type: "F32", shape: [576] },
          { name: "token_embd.weight", type: "Q8_0", shape: [576, vocabularySize] },
        ],
        capabilities: model.capabilities ?? ["completion"],
        modified_at: model.modifiedAt ?? modifiedAt,
      });
    },

    pull: (exchange) => exchange.lines(pullLines(exchange, nameIn(exchange))),

    create(exchange) {
      const { body } = exchange.request;
      const name = String(body["model"]);
      const lines =
        body["from"] === undefined
          ? createLines(name, (body["files"] ?? {}) as Record<string, string>)
          : createFromLines(name, body);
      return exchange.lines(lines);
    },

    async remove(exchange) {
      const name = nameIn(exchange);
      const model = findModel(models, name);
      if (!model) return await exchange.error(404, vendorErrors.notFound(name));
      models.delete(model.name);
      exchange.empty(200);
    },

    headBlob: (exchange, digest) => exchange.empty(isBlob(digest) ? 200 : 404),

    async postBlob(exchange, digest) {
      if (isBlob(digest)) return exchange.empty(200);
      const chunks: Buffer[] = [];
      for await (const chunk of exchange.incoming) chunks.push(chunk as Buffer);
      const content = Buffer.concat(chunks);
      const actual = `sha256:${sha256(content)}`;
      if (actual !== digest) return await exchange.error(400, `digest mismatch, expected "${digest}", got "${actual}"`);
      blobs.set(digest, content);
      exchange.empty(201);
    },
  };
}
