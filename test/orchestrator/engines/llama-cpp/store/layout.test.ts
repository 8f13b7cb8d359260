import { describe, expect, it } from "vitest";
import { ollamaStoreCandidates, storeLayout } from "../../../../../src/orchestrator/engines/llama-cpp/store/layout.ts";
import { parseModelName } from "../../../../../src/orchestrator/util/model-name.ts";

const hex = "0123456789abcdef".repeat(4);

describe("storeLayout", () => {
  it("is Ollama's on POSIX systems, ports with their colon", () => {
    const layout = storeLayout("/home/u/.ollm/models", "linux");
    expect(layout.blobFile(hex)).toBe(`/home/u/.ollm/models/blobs/sha256-${hex}`);
    expect(layout.manifestFile(parseModelName("localhost:5000/ns/m:x"))).toBe(
      "/home/u/.ollm/models/manifests/localhost:5000/ns/m/x",
    );
  });

  it("is Ollama's on Windows, where a folder's name can't contain a colon", () => {
    const layout = storeLayout("C:\\Users\\u\\.ollm\\models", "win32");
    expect(layout.blobFile(hex)).toBe(`C:\\Users\\u\\.ollm\\models\\blobs\\sha256-${hex}`);
    expect(layout.manifestFile(parseModelName("smollm2:135m"))).toBe(
      "C:\\Users\\u\\.ollm\\models\\manifests\\registry.ollama.ai\\library\\smollm2\\135m",
    );
    expect(layout.manifestFile(parseModelName("localhost:5000/ns/m:x"))).toContain("\\localhost%3A5000\\");
  });
});

describe("ollamaStoreCandidates", () => {
  it("puts OLLAMA_MODELS first, as Ollama reads it, then the user's own, then Linux services", () => {
    expect(ollamaStoreCandidates({ OLLAMA_MODELS: ' "/data/models/" ' }, "linux", "/home/u")).toEqual([
      "/data/models/",
      "/home/u/.ollama/models",
      "/usr/share/ollama/.ollama/models",
      "/var/lib/ollama/models",
      "/var/lib/ollama",
    ]);
  });

  it("lists the usual folders of macOS and Windows", () => {
    expect(ollamaStoreCandidates({}, "darwin", "/Users/u")).toEqual(["/Users/u/.ollama/models"]);
    expect(ollamaStoreCandidates({ OLLAMA_MODELS: "D:\\ollama" }, "win32", "C:\\Users\\u")).toEqual([
      "D:\\ollama",
      "C:\\Users\\u\\.ollama\\models",
    ]);
  });

  it("lists each folder once and no relative path", () => {
    expect(ollamaStoreCandidates({ OLLAMA_MODELS: "/home/u/.ollama/models" }, "darwin", "/home/u")).toHaveLength(1);
    expect(ollamaStoreCandidates({ OLLAMA_MODELS: "models" }, "darwin", "/home/u")).toEqual(["/home/u/.ollama/models"]);
  });
});
