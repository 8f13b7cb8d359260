import { expect, it } from "vitest";
import { renderPlannedLoad } from "../../../src/cli/commands/status.ts";

const steps = [
  "available 18.0 GB, loaded qwen3:8b 5.7 GB",
  "needed 22.8 GB: size 19.0 GB x 1.20 = 22.8 GB, and more than size + buffer 2.0 GB = 21.0 GB",
  "unload qwen3:8b (5.7 GB)",
  "23.7 GB free",
  "load qwen3:32b",
];
const plan = {
  fits: true,
  predicted_bytes: 19e9,
  needed_bytes: 22.8e9,
  free_bytes: 18e9,
  evict: [{ name: "qwen3:8b", bytes: 5.7e9 }],
  steps,
};
const answer = { model: "qwen3:32b", engine: "ollama", loaded: false, method: "size_rule", margin: 0.287, plan };

it("a dry run shows the verdict, each step with its numbers, and where the estimate comes from", () => {
  expect(renderPlannedLoad(answer, {})).toBe(
    `qwen3:32b fits
  available 18.0 GB, loaded qwen3:8b 5.7 GB
  needed 22.8 GB: size 19.0 GB x 1.20 = 22.8 GB, and more than size + buffer 2.0 GB = 21.0 GB
  unload qwen3:8b (5.7 GB)
  23.7 GB free
  load qwen3:32b
estimate from the file size only, ±28.7 %
`,
  );
});

it("a dry run shows what the estimate is made of, and why the machine is slow", () => {
  const parts = { weights: 4.7e9, cache: 229e6, compute: 300e6, process: 141e6 };
  const warnings = ["3.0 GB of 8.0 GB swap in use"];
  const planned = { ...answer, method: "computed", margin: 0.03, parts, plan: { ...plan, fits: false, warnings } };
  const shown = renderPlannedLoad(planned, {});
  expect(shown.split("\n")[0]).toBe("qwen3:32b does not fit");
  expect(shown.split("\n").slice(-3)).toEqual([
    "estimate computed from the model's metadata, ±3 %: weights 4.7 GB, cache 229.0 MB, compute 300.0 MB, process 141.0 MB",
    "! 3.0 GB of 8.0 GB swap in use",
    "",
  ]);
});

it("a dry run of what is loaded, elsewhere or not measured is one sentence", () => {
  const text = "qwen3:32b is already loaded with 4096 tokens of context";
  const loaded = { ...answer, loaded: true, plan: { ...plan, needed_bytes: 0, steps: [text] } };
  expect(renderPlannedLoad(loaded, {})).toBe(`${text}\n`);
});

it("a dry run keeps its shape on a narrow terminal", () => {
  expect(renderPlannedLoad(answer, { columns: 40 })).toBe(
    `qwen3:32b fits
  available 18.0 GB, loaded qwen3:8b 5.7
  GB
  needed 22.8 GB: size 19.0 GB x 1.20 =
  22.8 GB, and more than size + buffer
  2.0 GB = 21.0 GB
  unload qwen3:8b (5.7 GB)
  23.7 GB free
  load qwen3:32b
estimate from the file size only, ±28.7
         %
`,
  );
});
