import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { asksOfRows } from "../../../src/orchestrator/reading/rows-question.ts";
import type { GenerationRequest } from "../../../src/orchestrator/engines/generation.ts";
import { reliabilityLines } from "../../../src/orchestrator/util/format-bytes.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { narrowModel, promptOf } from "../../support/reading-engine.ts";

const orders = {
  path: "shop/orders.csv",
  text: `id;city;amount\n${Array.from({ length: 300 }, (_, at) => `${at};${["Linz", "Graz", "Wien"][at % 3]};1.000,50\n`).join("")}`,
};
const wide = fakeModel("mistral:7b", 4 * gigabyte, { contextTokens: 32_768 });
const sum = "What is the sum of the amounts?";

/** Answers one after the other; the last one again. */
function asked(replies: readonly string[], models = [wide]) {
  const prompts: string[] = [];
  const requests: GenerationRequest[] = [];
  const engine = createFakeEngine("ollama", models);
  engine.answer = async (request) => {
    requests.push(request);
    prompts.push(promptOf(request));
    return { text: replies[Math.min(prompts.length, replies.length) - 1] ?? "", completionTokens: 8 };
  };
  return { prompts, requests, ...createTestOrchestrator([engine]) };
}

describe("a question about rows", () => {
  it("is answered by a query on all rows, and a single value needs no second answer of a model", async () => {
    const { prompts, requests, generate } = asked(["```sql\nSELECT SUM(amount) FROM orders;\n```"]);
    const answer = await generate({ prompt: sum, files: [orders] });
    expect(answer.text).toBe("300150");
    expect(answer.query).toEqual({
      language: "sql",
      text: "SELECT SUM(amount) FROM orders",
      rows: [{ "SUM(amount)": 300_150 }],
    });
    expect(answer.parts).toBeUndefined();
    expect(answer.notes).toEqual([]);
    expect(prompts).toHaveLength(1);
    expect(prompts[0]?.length).toBeLessThan(2_000);
    expect(prompts[0]).toContain("city TEXT, -- one of 'Linz', 'Graz', 'Wien'");
    expect(requests[0]?.sampling).toMatchObject({ temperature: 0 });
  });

  it("is answered so, too, where the table exceeds every window", async () => {
    const { generate } = asked(["SELECT COUNT(*) FROM orders"], [narrowModel]);
    expect(await generate({ prompt: "How many orders are there?", files: [orders] })).toMatchObject({ text: "300" });
  });

  it("is worded by a model from several rows, or in the form that is asked for", async () => {
    const { prompts, generate } = asked(["SELECT city, COUNT(*) AS n FROM orders GROUP BY city", "100 each."]);
    const answer = await generate({ prompt: "How many orders per city?", files: [orders] });
    expect(answer.text).toBe("100 each.");
    expect(answer.query?.rows).toEqual(["Graz", "Linz", "Wien"].map((city) => ({ city, n: 100 })));
    expect(prompts[1]).toContain("city | n\nGraz | 100\nLinz | 100\nWien | 100");
    expect(answer.completionTokens).toBe(16);
    expect(reliabilityLines(answer.query === undefined ? {} : { query: answer.query })).toEqual([
      "query: SELECT city, COUNT(*) AS n FROM orders GROUP BY city (3 rows)",
      "Graz, 100",
      "Linz, 100",
      "Wien, 100",
    ]);

    const formed = asked(["SELECT SUM(amount) FROM orders", '{"sum":300150}']);
    const format = { type: "object", properties: { sum: { type: "number" } }, required: ["sum"] } as const;
    const inForm = await formed.generate({ prompt: sum, files: [orders], format });
    expect(JSON.parse(inForm.text)).toEqual({ sum: 300_150 });
  });

  it("gets its query corrected once: the model sees the error, or that nothing was found", async () => {
    const failing = asked(["SELECT SUM(price) FROM orders", "SELECT SUM(amount) FROM orders"]);
    expect(await failing.generate({ prompt: sum, files: [orders] })).toMatchObject({ text: "300150" });
    expect(failing.prompts[1]).toContain("no such column: price; there is orders (id, city, amount)");

    const empty = asked([
      "SELECT COUNT(*) FROM orders WHERE city = 'LINZ'",
      "SELECT COUNT(*) FROM orders WHERE city = 'Linz'",
    ]);
    const answer = await empty.generate({ prompt: "How many orders from Linz?", files: [orders] });
    expect(answer).toMatchObject({ text: "100" });
    expect(empty.prompts[1]).toContain("it finds no rows");
  });

  it("for which no model writes a query is read by a model, and the answer says so", async () => {
    const { generate } = asked(["I can't.", "I can't.", "About 300000."]);
    const answer = await generate({ prompt: sum, files: [orders] });
    expect(answer.text).toBe("About 300000.");
    expect(answer.query).toBeUndefined();
    expect(answer.notes[0]).toBe(
      "no query answers this, so a model read the rows and may have miscounted (mistral:7b: it wrote no query)",
    );
    expect(answer.completionTokens).toBe(24);
  });

  it("says what of the table its query did not see", async () => {
    const { generate } = asked(["SELECT SUM(n) FROM t"]);
    const files = [{ path: "t.csv", text: "a,n\nx,1\ny,2,5\n" }];
    expect(await generate({ prompt: "What is the sum of n?", files })).toMatchObject({
      text: "3",
      notes: ["t.csv: 1 row has more cells than the header: the last ones are left out"],
    });
  });

  it("shows of huge cells what they begin with, to the model and to the caller", async () => {
    const { prompts, generate } = asked(["SELECT note FROM t ORDER BY n DESC LIMIT 1"]);
    const files = [{ path: "t.csv", text: `n,note\n1,x\n2,"${"long ".repeat(20_000)}"\n` }];
    const answer = await generate({ prompt: "Which note has the highest n?", files });
    expect(prompts[0]?.length).toBeLessThan(2_000);
    expect(answer.text).toHaveLength(201);
    expect(JSON.stringify(answer.query).length).toBeLessThan(400);
  });

  it("in a plan is the request for the query", async () => {
    const { orchestrator, caller, prompts } = asked([""], [narrowModel]);
    const plan = await orchestrator.planGeneration(caller(), { prompt: sum, files: [orders] });
    expect(plan.parts).toBeUndefined();
    expect(plan.notes).toEqual(["answered by a query over the rows, if the model writes one that runs"]);
    expect(prompts).toEqual([]);
  });

  it.each([
    ["a request that names no table", { files: [{ path: "notes.md", text: orders.text }] }],
    ["a request that is to be read as it is", { files: [orders], split: "none" as const }],
    ["a summary", { files: [orders], prompt: "Summarise the orders." }],
    ["a check", { files: [orders], check: "agree" as const }],
  ])("is none for %s", async (_, request) => {
    const { generate } = asked(["SELECT 1 FROM orders"]);
    expect((await generate({ prompt: sum, ...request })).query).toBeUndefined();
  });
});

describe("what asks of rows", () => {
  const asks = (prompt: string) => asksOfRows({ prompt }, "general");

  it("are all questions of the benchmark", async () => {
    const text = await readFile(new URL("../../../bench/judgement/sets/tables.dev.jsonl", import.meta.url), "utf8");
    const questions = text
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { question: string }).question);
    expect(questions.filter((question) => !asks(question))).toEqual([]);
  });

  it.each([
    "Why did sales fall in May?",
    "Summarise this table.",
    "Write a Python script that sums the amounts.",
    "Translate the comments into German.",
    "Worum geht es in dieser Datei? Fasse sie kurz zusammen.",
    "Pourquoi les ventes ont-elles baissé ?",
    "Explica cada columna.",
    "What does the column kz mean?",
  ])("is not %j", (prompt) => {
    expect(asks(prompt)).toBe(false);
  });
});
