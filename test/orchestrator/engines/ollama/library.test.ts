import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import {
  EngineUnreachable,
  InvalidRequest,
  LoadFailed,
  PullFailed,
  UnknownModel,
} from "../../../../src/orchestrator/api/errors.ts";
import type { EngineLibrary } from "../../../../src/orchestrator/engines/engine.ts";
import type { Progress } from "../../../../src/orchestrator/api/types.ts";
import type { FakeOllamaOptions } from "../../../support/fake-ollama.ts";
import type { OllamaTimeouts } from "../../../../src/orchestrator/engines/ollama/transport.ts";
import { digestOf } from "../../../support/fake-ollama/library.ts";
import { engineAt, never, rejection, startPair } from "./fixture.ts";

async function startLibrary(options: FakeOllamaOptions = {}, timeouts: Partial<OllamaTimeouts> = {}) {
  const pair = await startPair(options, timeouts);
  return { ...pair, library: pair.engine.library as EngineLibrary };
}

async function temporaryFile(name: string, content: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "ollm-ollama-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, name);
  await writeFile(file, content);
  return file;
}

const qwen = { name: "qwen3:0.6b", sizeBytes: 1_000_000 };

describe("a pull through Ollama", () => {
  it("reports growing bytes and returns the model under the requested name", async () => {
    const { library } = await startLibrary({ registry: [qwen], pullBytesPerSecond: 20_000_000 });
    const seen: Progress[] = [];
    const pulled = await library.pull("qwen3:0.6b", (progress) => seen.push(progress), never);
    expect(pulled).toMatchObject({ name: "qwen3:0.6b", sizeBytes: 1_000_000, wasAlreadyPresent: false });
    expect(pulled.digest).toMatch(/^[0-9a-f]{64}$/);
    const bytes = seen.map(({ completedBytes }) => completedBytes ?? 0);
    expect(bytes).toEqual(bytes.toSorted((left, right) => left - right));
    expect(seen.at(-1)).toMatchObject({
      message: "qwen3:0.6b: success",
      completedBytes: 1_000_000,
      totalBytes: 1_000_000,
    });
  });

  it("uses plain HTTP only for registries on this machine", async () => {
    const name = "127.0.0.1:5000/team/tiny:latest";
    const { fake } = await startPair({ registry: [{ name }, qwen] });
    const { library } = engineAt(fake.url, {}, { allowedHosts: () => ["127.0.0.1:5000"] });
    await library?.pull(name, () => {}, never);
    await library?.pull("qwen3:0.6b", () => {}, never);
    const bodies = fake.requests.filter(({ path }) => path === "/api/pull").map(({ body }) => body);
    expect(bodies).toMatchObject([{ name, insecure: true }, { name: "qwen3:0.6b" }]);
    expect(bodies[1]).not.toHaveProperty("insecure");
    // A private address that is not in the settings is never requested.
    expect(
      await rejection(engineAt(fake.url).library?.pull(name, () => {}, never) ?? Promise.resolve()),
    ).toBeInstanceOf(PullFailed);
  });

  it("reports that the model was already present, also for a name without a tag", async () => {
    const { library } = await startLibrary({ models: [{ name: "tiny:latest" }] });
    expect(await library.pull("tiny", () => {}, never)).toMatchObject({ name: "tiny", wasAlreadyPresent: true });
  });

  it("an unknown name throws UnknownModel, although the status is 200", async () => {
    const { library } = await startLibrary();
    const error = await rejection(library.pull("nope", () => {}, never));
    expect(error).toBeInstanceOf(UnknownModel);
    expect(error.message).toContain("nope");
  });

  it("an error line of the registry throws PullFailed, and the pull can be resumed", async () => {
    const { fake, library } = await startLibrary({ registry: [qwen] });
    const text = 'pull model manifest: Get "https://registry.ollama.ai/v2/": dial tcp: no such host';
    fake.misbehave({ kind: "error_line", on: "/api/pull", error: text });
    const error = await rejection(library.pull("qwen3:0.6b", () => {}, never));
    expect(error).toBeInstanceOf(PullFailed);
    expect(error.message).toContain("no such host");
    expect(error.next?.[0]).toEqual({ step: "resumePull", model: "qwen3:0.6b" });
  });

  it("of an installed model that fails before its first byte says that it is installed, and why it wasn't checked", async () => {
    const { fake, library } = await startLibrary({ models: [{ name: "qwen3:0.6b" }], registry: [qwen] });
    const text = 'pull model manifest: Get "https://registry.ollama.ai/v2/": dial tcp: no such host';
    fake.misbehave({ kind: "error_line", on: "/api/pull", error: text });
    const pulled = await library.pull("qwen3:0.6b", () => {}, never);
    expect(pulled).toMatchObject({ name: "qwen3:0.6b", wasAlreadyPresent: true });
    expect(pulled.note).toMatch(/^it was not checked for a newer version: .*no such host/);
  });

  it("a stalled one throws PullFailed with the bytes received", async () => {
    const { fake, library } = await startLibrary({ registry: [qwen] }, { pullStallMs: 150 });
    fake.misbehave({ kind: "hang", on: "/api/pull", afterLines: 4 });
    const error = await rejection(library.pull("qwen3:0.6b", () => {}, never));
    expect(error).toBeInstanceOf(PullFailed);
    expect(error.message).toBe("the pull of qwen3:0.6b stalled at 200000 of 1000000 bytes");
    expect(error.next?.[0]).toEqual({ step: "resumePull", model: "qwen3:0.6b" });
  });

  it("a dropped connection throws EngineUnreachable", async () => {
    const { fake, library } = await startLibrary({ registry: [qwen] });
    fake.misbehave({ kind: "cut", on: "/api/pull", afterLines: 4 });
    expect(await rejection(library.pull("qwen3:0.6b", () => {}, never))).toBeInstanceOf(EngineUnreachable);
  });
});

describe("an import into Ollama", () => {
  it("uploads the file once for two names", async () => {
    const { fake, library } = await startLibrary();
    const file = await temporaryFile("my.gguf", `GGUF${"x".repeat(3_000_000)}`);
    const seen: Progress[] = [];
    const first = await library.import(file, "mine", (progress) => seen.push(progress), never);
    expect(first).toMatchObject({ name: "mine", sizeBytes: 3_000_004, wasAlreadyPresent: false });
    expect(seen.find(({ message }) => message.startsWith("sending"))).toMatchObject({ totalBytes: 3_000_004 });
    await library.import(file, "mine-too", () => {}, never);
    expect(
      fake.requests.filter(({ method, path }) => method === "POST" && path.startsWith("/api/blobs/")),
    ).toHaveLength(1);
    expect([...fake.models.keys()]).toEqual(expect.arrayContaining(["mine:latest", "mine-too:latest"]));
  });

  it("a file that is not a GGUF file throws LoadFailed with Ollama's reason", async () => {
    const { library } = await startLibrary();
    const file = await temporaryFile("notes.txt", "hello");
    const error = await rejection(library.import(file, "mine", () => {}, never));
    expect(error).toBeInstanceOf(LoadFailed);
    expect(error.message).toContain("not in GGUF format");
  });

  it("a missing file throws InvalidRequest before any request", async () => {
    const { fake, library } = await startLibrary();
    expect(await rejection(library.import("/no/such.gguf", "mine", () => {}, never))).toBeInstanceOf(InvalidRequest);
    expect(fake.requests).toEqual([]);
  });

  it("a folder throws InvalidRequest", async () => {
    const { library } = await startLibrary();
    expect(await rejection(library.import(tmpdir(), "mine", () => {}, never))).toBeInstanceOf(InvalidRequest);
  });
});

describe("deleting from Ollama", () => {
  it("does not count weights as freed that another name shares, although the names have different digests", async () => {
    const { fake, library } = await startLibrary({
      models: [
        { name: "base:1b", sizeBytes: 500 },
        { name: "other:1b", sizeBytes: 500, weights: "b".repeat(64) },
      ],
    });
    const recipe = { name: "poet:latest", base: "base:1b", system: "You rhyme.", parameters: {} };
    await library.creation?.create(recipe, () => {}, never);
    expect(new Set([...fake.models.values()].map(digestOf)).size).toBe(3);
    expect(await library.remove("poet:latest", never)).toEqual({ freedBytes: 0 });
    expect(await library.remove("base:1b", never)).toEqual({ freedBytes: 500 });
  });

  it("counts weights as freed that no other name uses", async () => {
    const weights = "a".repeat(64);
    const { library } = await startLibrary({
      models: [
        { name: "one:1b", weights, sizeBytes: 500 },
        { name: "copy:1b", weights, sizeBytes: 500 },
      ],
    });
    expect(await library.remove("one:1b", never)).toEqual({ freedBytes: 0 });
    expect(await library.remove("copy:1b", never)).toEqual({ freedBytes: 500 });
  });

  it("an unknown name is UnknownModel", async () => {
    const { library } = await startLibrary();
    expect(await rejection(library.remove("nope", never))).toBeInstanceOf(UnknownModel);
  });
});

describe("a model that Ollama creates from another one", () => {
  it("has the base's weights and the given settings", async () => {
    const { fake, library } = await startLibrary();
    const adapterFile = await temporaryFile("lora.gguf", "GGUF and some more");
    const [base] = fake.models.values();
    const made = await library.creation?.create(
      {
        name: "poet:latest",
        base: base?.name ?? "",
        system: "You rhyme.",
        parameters: { temperature: 1.2, stop: ["END", "STOP"] },
        adapterFile,
      },
      () => {},
      never,
    );
    expect(made).toMatchObject({ name: "poet:latest", wasAlreadyPresent: false });
    const sent = fake.requests.find(({ path }) => path === "/api/create")?.body;
    expect(sent).toMatchObject({ model: "poet:latest", from: base?.name, system: "You rhyme." });
    expect(fake.models.get("poet:latest")).toMatchObject({
      system: "You rhyme.",
      parameters: 'temperature 1.2\nstop "END"\nstop "STOP"',
      adapters: [expect.stringMatching(/^sha256:/)],
    });
  });

  it("throws UnknownModel for a missing base, and sends no request for a missing adapter", async () => {
    const { fake, library } = await startLibrary();
    const recipe = { name: "poet:latest", base: "nope", parameters: {} };
    expect(await rejection(library.creation?.create(recipe, () => {}, never) ?? Promise.resolve())).toBeInstanceOf(
      UnknownModel,
    );
    const withFile = { ...recipe, base: "smollm2:135m", adapterFile: "/no/such.gguf" };
    expect(await rejection(library.creation?.create(withFile, () => {}, never) ?? Promise.resolve())).toBeInstanceOf(
      InvalidRequest,
    );
    expect(fake.requests.filter(({ path }) => path === "/api/create")).toHaveLength(1);
  });

  it("is rejected before any upload if the adapter is a model, which Ollama would accept", async () => {
    const { fake } = await startLibrary();
    const inspect = () =>
      Promise.resolve({
        architecture: "llama",
        metadata: {},
        tensors: {},
        weightsByType: {},
        weightsBytes: 1,
        fileBytes: 1,
      });
    const { creation } = engineAt(fake.url, {}, { inspect }).library ?? {};
    const adapterFile = await temporaryFile("model.gguf", "GGUF and some more");
    const recipe = { name: "poet:latest", base: "smollm2:135m", parameters: {}, adapterFile };
    await expect(creation?.create(recipe, () => {}, never)).rejects.toThrow("is a model, not an adapter");
    expect(fake.requests.filter(({ path }) => path !== "/api/tags")).toEqual([]);
  });
});
