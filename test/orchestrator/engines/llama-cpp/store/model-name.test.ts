import fc from "fast-check";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { InvalidRequest } from "../../../../../src/orchestrator/api/errors.ts";
import {
  formatModelName,
  isCloudName,
  keyOfName,
  modelKey,
  nameFromSegments,
  nameToSegments,
  parseModelName,
  sameModel,
  tryParseModelName,
} from "../../../../../src/orchestrator/util/model-name.ts";

describe("parseModelName", () => {
  it.each([
    ["smollm2", "registry.ollama.ai", "library", "smollm2", "latest"],
    ["smollm2:135m", "registry.ollama.ai", "library", "smollm2", "135m"],
    ["mannix/llama3.1:8b-q4_0", "registry.ollama.ai", "mannix", "llama3.1", "8b-q4_0"],
    ["hf.co/bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M", "hf.co", "bartowski", "SmolLM2-135M-Instruct-GGUF", "Q4_K_M"],
    ["https://huggingface.co/org/repo", "hf.co", "org", "repo", "latest"],
    ["127.0.0.1:5000/ns/model", "127.0.0.1:5000", "ns", "model", "latest"],
    ["  phi3 ", "registry.ollama.ai", "library", "phi3", "latest"],
  ])("reads %s", (text, host, namespace, model, tag) => {
    expect(parseModelName(text)).toEqual({ host, namespace, model, tag });
  });

  it.each([
    ["", "empty"],
    ["..", "not allowed"],
    ["../../etc/passwd", "more parts"],
    ["../passwd", "not allowed"],
    ["/etc/passwd", "empty"],
    ["C:\\models\\x.gguf", "not allowed"],
    ["a\\b", "not allowed"],
    ["model:", "empty"],
    ["ns//model", "empty"],
    ["host/ns/model/more", "more parts"],
    ["https://huggingface.co/org/repo/resolve/main/file.gguf", "more parts"],
    ["con", "device name"],
    ["library/nul.gguf", "device name"],
    ["model:COM1", "device name"],
    ["model.", "ends with a dot"],
    ["model:tag.", "ends with a dot"],
    ["my.name/model", "not allowed"],
    [".hidden", "not allowed"],
    ["a b", '" " is not allowed in its model'],
    ["x".repeat(81), "longer than 80"],
    ["http://host/ns/model", "more parts"],
    ["modèle", "not allowed"],
    ["model\0", "not allowed"],
  ])("refuses %j: %s", (text, why) => {
    expect(() => parseModelName(text)).toThrow(InvalidRequest);
    expect(() => parseModelName(text)).toThrow(why);
    expect(tryParseModelName(text)).toBeUndefined();
  });

  it("never throws anything but InvalidRequest, and what it accepts stays in its folder on every platform", () => {
    const chunk = fc.oneof(
      fc.constantFrom(
        "..",
        ".",
        "/",
        "\\",
        ":",
        "con",
        "nul.x",
        "C:",
        "a",
        "Model-1",
        "q4_K",
        "%2e",
        "~",
        "hf.co",
        "\0",
        "https://",
      ),
      fc.string({ maxLength: 6 }),
    );
    const anyText = fc.array(chunk, { maxLength: 8 }).map((parts) => parts.join(""));
    fc.assert(
      fc.property(anyText, (text) => {
        const name = tryParseModelName(text);
        if (name === undefined) return;
        for (const [platform, paths, root] of [
          ["linux", path.posix, "/store/manifests"],
          ["win32", path.win32, "C:\\store\\manifests"],
        ] as const) {
          const file = paths.join(root, ...nameToSegments(name, platform));
          expect(paths.relative(root, file).split(paths.sep)).toHaveLength(4);
          expect(file.startsWith(root + paths.sep)).toBe(true);
          if (platform === "win32") expect(file.slice(2)).not.toContain(":");
        }
      }),
      { numRuns: 2000 },
    );
  });
});

const partArbitrary = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_-]{0,20}$/);
const nameArbitrary = fc
  .record({
    host: fc.constantFrom("registry.ollama.ai", "hf.co", "127.0.0.1:5000", "example.com"),
    namespace: partArbitrary,
    model: partArbitrary,
    tag: partArbitrary,
  })
  .filter((name) => nameFromSegments(Object.values(name)) !== undefined);

describe("formatModelName", () => {
  it("omits defaults, except the tag", () => {
    expect(formatModelName(parseModelName("registry.ollama.ai/library/phi3"))).toBe("phi3:latest");
    expect(formatModelName(parseModelName("mannix/phi3:x"))).toBe("mannix/phi3:x");
    expect(formatModelName(parseModelName("huggingface.co/org/repo"))).toBe("hf.co/org/repo:latest");
  });

  it("returns text that parses to the same name", () => {
    fc.assert(
      fc.property(nameArbitrary, (name) => {
        const again = parseModelName(formatModelName(name));
        expect(modelKey(again)).toBe(modelKey(name));
        expect(formatModelName(again)).toBe(formatModelName(name));
      }),
    );
  });

  it("has the same key as text and parsed, plain or not", () => {
    const text = fc.oneof(
      nameArbitrary.map(formatModelName),
      fc.stringMatching(/^[a-z0-9_.-]{1,6}:[a-z0-9_.-]{1,6}$/),
      fc.constantFrom(
        "con:latest",
        "CON:latest",
        "phi:nul",
        "phi3",
        "Phi3:LATEST",
        "a:b",
        "a.:b",
        "com1.x:y",
        "console:1b",
      ),
    );
    fc.assert(
      fc.property(text, (name) => {
        const parsed = tryParseModelName(name);
        expect(keyOfName(name)).toBe(parsed === undefined ? name.trim().toLowerCase() : modelKey(parsed));
      }),
    );
  });

  it("survives the conversion to folders on every platform", () => {
    fc.assert(
      fc.property(nameArbitrary, fc.constantFrom<NodeJS.Platform>("linux", "win32", "darwin"), (name, platform) => {
        expect(nameFromSegments(nameToSegments(name, platform))).toEqual(name);
      }),
    );
  });
});

describe("sameModel", () => {
  it.each([
    ["smollm2", "smollm2:latest", true],
    ["SmolLM2:135M", "smollm2:135m", true],
    ["library/smollm2", "registry.ollama.ai/library/smollm2:latest", true],
    ["hf.co/org/repo:q4_k_m", "huggingface.co/Org/Repo:Q4_K_M", true],
    ["smollm2:135m", "smollm2", false],
    ["smollm2:135m", "other/smollm2:135m", false],
    ["not a name", "Not A Name", true],
    ["vendor/some/very/deep:model", "vendor/some/very/deep:other", false],
  ])("%s and %s: %s", (a, b, expected) => {
    expect(sameModel(a, b)).toBe(expected);
    expect(sameModel(b, a)).toBe(expected);
  });
});

describe("isCloudName", () => {
  it("recognises Ollama's two forms of cloud names", () => {
    expect(["gpt-oss:120b-cloud", "kimi-k2:cloud", "cloud:7b", "cloudy"].map(isCloudName)).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });
});
