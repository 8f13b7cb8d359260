import { expect, it } from "vitest";
import { renderModels } from "../../../src/cli/commands/models.ts";
import { silentIo as io } from "../../support/silent-io.ts";

it("a pin is shown whether its model is in memory or not", () => {
  const model = (name: string, more: object) => ({
    name,
    engine: "ollama",
    size_bytes: 1e9,
    is_loaded: false,
    ...more,
  });
  const models = [
    model("a:1b", { is_loaded: true, is_pinned: true }),
    model("b:1b", { is_pinned: true }),
    model("c:1b", { is_loaded: true }),
    model("d:1b", {}),
  ];
  expect(renderModels({ models, total: 4 }, undefined, false, io)).toMatchInlineSnapshot(`
    "NAME    SIZE  STATE           ENGINE
    a:1b  1.0 GB  loaded, pinned  ollama
    b:1b  1.0 GB  pinned          ollama
    c:1b  1.0 GB  loaded          ollama
    d:1b  1.0 GB                  ollama
    "
  `);
});

it("a model on another machine has a size, one in a cloud has none", () => {
  const model = { engine: "ollama-2", is_loaded: false, is_remote: true };
  const models = [
    { ...model, name: "mistral:7b", size_bytes: 4.1e9 },
    { ...model, name: "gpt-oss:120b-cloud", size_bytes: 0 },
  ];
  expect(renderModels({ models, total: 2 }, undefined, false, io)).toMatchInlineSnapshot(`
    "NAME                  SIZE  ENGINE
    mistral:7b          4.1 GB  ollama-2
    gpt-oss:120b-cloud   cloud  ollama-2
    "
  `);
});

it("engines that don't answer are named where no model is found", () => {
  const list = {
    models: [],
    total: 0,
    suggestion: { model: "qwen3:4b", reason: "2.6 GB\nQuicker: qwen3:0.6b (0.5 GB)" },
    unreachable: ["Ollama does not answer at 127.0.0.1:1 (ECONNREFUSED)"],
  };
  expect(renderModels(list, undefined, false, io)).toBe(
    "Ollama does not answer at 127.0.0.1:1 (ECONNREFUSED). Or pull a model:\n  ollm pull qwen3:4b\n  2.6 GB\n  Quicker: qwen3:0.6b (0.5 GB)\n",
  );
});

it("shows the measured speed, else the expected one, and keeps it longest in a narrow terminal", () => {
  const model = (name: string, more: object) => ({
    name,
    engine: "llama-cpp",
    size_bytes: 1e9,
    is_loaded: false,
    parameter_size: "1B",
    quantization: "Q4_K_M",
    context_tokens: 4_096,
    ...more,
  });
  const models = [
    model("a:1b", { tokens_per_second: 80.7, expected_tokens_per_second: 60 }),
    model("b:1b", { expected_tokens_per_second: 42.5 }),
    model("c:1b", {}),
  ];
  expect(renderModels({ models, total: 3 }, undefined, true, { ...io, columns: 24 })).toMatchInlineSnapshot(`
    "NAME    SIZE  TOKENS/S
    a:1b  1.0 GB      80.7
    b:1b  1.0 GB     ~42.5
    c:1b  1.0 GB
    "
  `);
});
