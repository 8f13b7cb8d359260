import { afterEach, describe, expect, it } from "vitest";
import type { Comparison, Comparisons, Preference } from "../../src/orchestrator/api/facade-compare.ts";
import { createFakeOrchestrator, doneOperation } from "../support/fake-orchestrator.ts";
import { connectMemoryClient } from "../support/memory-client.ts";

const comparison: Comparison = {
  id: "compare-1",
  createdAt: "2026-11-21T12:00:00.000Z",
  prompt: "Why is the sky blue?",
  task: "general",
  results: [
    {
      model: "llama3.2:3b",
      engine: "ollama",
      text: "Because short waves scatter more in the air than long ones do.",
      completionTokens: 14,
      tokensPerSecond: 23.456,
      firstTokenMs: 210.4,
      totalMs: 812.6,
      loadMs: 1540,
      memoryBytes: 2_400_000_000,
      finishReason: "stop",
    },
    {
      model: "qwen2.5:7b",
      engine: "ollama",
      text: `A fence: \`\`\`\n${"x".repeat(3000)}`,
      completionTokens: 900,
      tokensPerSecond: 9.1,
      firstTokenMs: 400,
      totalMs: 99_000,
      loadMs: 0,
      memoryBytes: 5_100_000_000,
      finishReason: "length",
      isContended: true,
    },
    { model: "lama3:8b", engine: "", text: "", error: "no model lama3:8b (nearest: llama3.2:3b)" },
  ],
  order: "one after the other",
  judgement: {
    judge: "phi4:14b",
    ranking: [["llama3.2:3b", "qwen2.5:7b"]],
    reason: "Both are right.",
    note: "a model's opinion, not a measurement",
  },
};

const picked: Preference = {
  task: "general",
  model: "llama3.2:3b",
  comparisonId: "compare-1",
  pickedAt: "2026-11-21T12:01:00.000Z",
};

let close: (() => Promise<void>) | undefined;
afterEach(() => close?.());

async function connect(replace: Partial<Comparisons> = {}) {
  const asked: unknown[] = [];
  const comparisons: Partial<Comparisons> = {
    compare(_caller, request) {
      asked.push(request);
      return Promise.resolve(doneOperation(comparison));
    },
    get: (_caller, id) => Promise.resolve({ ...comparison, id }),
    list: () => Promise.resolve([comparison]),
    pick(_caller, ...choice) {
      asked.push(choice);
      return Promise.resolve(picked);
    },
    preferences: () => Promise.resolve([picked]),
    undo(_caller, task) {
      asked.push(task);
      return Promise.resolve(picked);
    },
    prefer(_caller, task, model) {
      asked.push({ task, model });
      return Promise.resolve({ task, model, pickedAt: picked.pickedAt });
    },
    rate(_caller, rating) {
      asked.push(rating);
      return Promise.resolve(rating);
    },
    learned: () => Promise.resolve([]),
    reset(_caller, scope) {
      asked.push(scope);
      return Promise.resolve();
    },
    ...replace,
  };
  const connected = await connectMemoryClient(createFakeOrchestrator({ comparisons: comparisons as Comparisons }));
  close = () => connected.client.close();
  const textOf = (result: { readonly content: readonly { readonly type: string }[] }) =>
    result.content.map((block) => ("text" in block ? String(block.text) : "")).join("\n");
  return { ...connected, asked, textOf };
}

describe("compare", () => {
  it("shows the models side by side, in a fence that no answer can end", async () => {
    const { call, textOf } = await connect();
    const text = textOf(
      await call("compare", { prompt: "Why is the sky blue?", models: ["llama3.2:3b", "qwen2.5:7b"] }),
    );
    expect(text).toMatchInlineSnapshot(`
      "\`\`\`\`
      model         tokens  tokens/s  first token   total    load  memory
      llama3.2:3b       14      23.5       210 ms  813 ms   1.5 s  2.4 GB
      qwen2.5:7b *     900       9.1       400 ms    99 s  loaded  5.1 GB
      lama3:8b      failed

      llama3.2:3b                     | qwen2.5:7b                      | lama3:8b
      -----------                     | ----------                      | --------
      Because short waves scatter     | A fence: \`\`\`                    | failed: no model lama3:8b
      more in the air than long ones  | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx | (nearest: llama3.2:3b)
      do.                             | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx |
                                      | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx |
                                      | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx |
                                      | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx |
                                      | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx |
                                      | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx |
                                      | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx |
                                      | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx |
                                      | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx |
                                      | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx… |
      \`\`\`\`
      Order: one after the other.
      * other work ran meanwhile: times are unreliable
      phi4:14b ranks llama3.2:3b = qwen2.5:7b: Both are right. (a model's opinion, not a measurement)
      Full answers: ollm://comparisons/compare-1. pick_winner with comparison_id "compare-1" makes routing prefer one for general tasks."
    `);
    for (const line of text.split("\n").slice(0, 18)) expect(line.length).toBeLessThanOrEqual(100);
  });

  it("answers lean, with long texts cut and the whole in the resource", async () => {
    const { call } = await connect();
    const { structuredContent } = await call("compare", { prompt: "x", models: "auto" });
    const { results, ...rest } = structuredContent as { results: Record<string, unknown>[] };
    expect(rest).toMatchObject({
      comparison_id: "compare-1",
      resource: "ollm://comparisons/compare-1",
      task: "general",
    });
    expect(results[0]).toEqual({
      model: "llama3.2:3b",
      text: comparison.results[0]?.text,
      completion_tokens: 14,
      tokens_per_second: 23.5,
      first_token_ms: 210,
      total_ms: 813,
      load_ms: 1540,
      memory_bytes: 2_400_000_000,
    });
    expect(results[1]).toMatchObject({ is_cut: true, is_contended: true });
    expect(String(results[1]?.["text"])).toHaveLength(2000);
    expect(results[2]).toEqual({ model: "lama3:8b", error: "no model lama3:8b (nearest: llama3.2:3b)" });
  });

  it("passes on its arguments and nothing else", async () => {
    const { call, asked } = await connect();
    await call("compare", { prompt: "x", models: "auto" });
    await call("compare", { prompt: "x", models: ["a", "b"], judge: "auto", runs: 3, max_tokens: 50, system: "s" });
    expect(asked).toEqual([
      { prompt: "x", models: "auto" },
      { prompt: "x", models: ["a", "b"], judge: "auto", runs: 3, maxTokens: 50, system: "s" },
    ]);
  });

  it("has its full result as a resource", async () => {
    const { client } = await connect();
    const { contents } = await client.readResource({ uri: "ollm://comparisons/compare-1" });
    const [content] = contents;
    const data = JSON.parse(content !== undefined && "text" in content ? content.text : "") as {
      results: { text?: string; error?: string }[];
    };
    expect(data).toMatchObject({ id: "compare-1", prompt: comparison.prompt, order: comparison.order });
    expect(data.results[1]?.text).toBe(comparison.results[1]?.text);
    expect(data.results[2]).toEqual({ model: "lama3:8b", error: comparison.results[2]?.error });
    const { resources } = await client.listResources();
    expect(resources.map(({ uri }) => uri)).toContain("ollm://comparisons/compare-1");
  });
});

describe("pick_winner", () => {
  it("picks, of the newest comparison when none is named", async () => {
    const { call, asked, textOf } = await connect();
    const result = await call("pick_winner", { model: "llama3.2:3b" });
    await call("pick_winner", { comparison_id: "compare-0", model: "b", task: "code" });
    expect(asked).toEqual([
      ["compare-1", "llama3.2:3b", undefined],
      ["compare-0", "b", "code"],
    ]);
    expect(textOf(result)).toBe(
      'Routing now prefers llama3.2:3b for general tasks; pick_winner with action "undo" undoes it.',
    );
    expect(result.structuredContent).toMatchObject({
      picked: { task: "general", model: "llama3.2:3b", comparison_id: "compare-1", picked_at: picked.pickedAt },
    });
  });

  it.each([{}, { model: "" }])("without a model asks which, and says so where it can't: %j", async (given) => {
    const { call, asked, textOf } = await connect();
    const result = await call("pick_winner", given);
    expect(result.isError).toBe(true);
    expect(textOf(result)).toContain("(string: One of llama3.2:3b, qwen2.5:7b)");
    expect(asked).toEqual([]);
  });

  it("lists, and takes back the newest when no task is named", async () => {
    const { call, asked, textOf } = await connect();
    expect(textOf(await call("pick_winner", { action: "list" }))).toBe("general: llama3.2:3b (picked 2026-11-21)");
    expect(textOf(await call("pick_winner", { action: "undo" }))).toContain(
      "Routing still prefers llama3.2:3b for general tasks, by an earlier pick.",
    );
    expect(asked).toEqual(["general"]);
  });

  it("picks without a comparison where task and model are named", async () => {
    const { call, asked } = await connect();
    const result = await call("pick_winner", { model: "llama3.2:3b", task: "coding" });
    expect(asked).toEqual([{ task: "code", model: "llama3.2:3b" }]);
    expect(result.structuredContent).toMatchObject({ picked: { task: "code", model: "llama3.2:3b" } });
    expect(result.structuredContent).not.toHaveProperty("picked.comparison_id");
  });

  it("rates an answer, and asks for the task or model that is missing", async () => {
    const { call, asked, textOf } = await connect();
    const good = await call("pick_winner", { action: "good", model: "a:1b", task: "code", answer_id: "x" });
    await call("pick_winner", { action: "bad", model: "a:1b", task: "code" });
    expect(asked).toEqual([
      { task: "code", model: "a:1b", isGood: true, answerId: "x" },
      { task: "code", model: "a:1b", isGood: false },
    ]);
    expect(textOf(good)).toBe("Rated a:1b good for code tasks.");
    expect(good.structuredContent).toMatchObject({ rated: "a:1b", task: "code" });
    await call("pick_winner", { action: "bad", model: "a:1b", task: "code", force: true });
    expect(asked.pop()).toMatchObject({ isForced: true });
    const missing = await call("pick_winner", { action: "bad", model: "a:1b" });
    expect(missing.isError).toBe(true);
    expect(textOf(missing)).toContain("Which answer was bad?");
    expect(asked).toHaveLength(2);
  });

  it("resets only for the user, who alone may agree", async () => {
    const { call, asked, textOf } = await connect();
    const result = await call("pick_winner", { action: "reset", task: "code" });
    expect(result.isError).toBe(true);
    expect(textOf(result)).toContain("ollm profiles reset");
    expect(asked).toEqual([]);
  });

  it("says what is wrong: nothing compared, nothing picked, no such task", async () => {
    const nothing = { list: () => Promise.resolve([]), preferences: () => Promise.resolve([]) };
    const { call, textOf } = await connect(nothing);
    expect(textOf(await call("pick_winner", { model: "a" }))).toContain("there is no comparison yet");
    expect(textOf(await call("pick_winner", { action: "undo" }))).toContain("nothing was picked");
    expect(textOf(await call("pick_winner", { action: "list" }))).toBe("No model was picked yet.");
    expect(textOf(await call("pick_winner", { model: "a", task: "cod" }))).toContain("Did you mean code?");
  });
});
