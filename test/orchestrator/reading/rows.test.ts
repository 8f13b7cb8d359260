import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { asksOfRows } from "../../../src/orchestrator/reading/rows.ts";
import { createEvents } from "../../../src/orchestrator/api/events.ts";
import { createLog } from "../../../src/orchestrator/api/log.ts";
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
function asked(
  replies: readonly string[],
  models = [wide],
  options: Parameters<typeof createTestOrchestrator>[1] = {},
) {
  const prompts: string[] = [];
  const requests: GenerationRequest[] = [];
  const engine = createFakeEngine("ollama", models);
  engine.answer = async (request) => {
    requests.push(request);
    prompts.push(promptOf(request));
    return { text: replies[Math.min(prompts.length, replies.length) - 1] ?? "", completionTokens: 8 };
  };
  return { prompts, requests, ...createTestOrchestrator([engine], options) };
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
    expect(empty.prompts[1]).toContain("no city is 'LINZ'; there is 'Linz'");
    expect(answer.notes).toEqual([]);

    const none = asked(["SELECT SUM(amount) FROM orders WHERE id > 400", "SELECT SUM(amount) FROM orders"]);
    expect(await none.generate({ prompt: sum, files: [orders] })).toMatchObject({ text: "300150" });
    expect(none.prompts[1]).toContain("it finds no rows");
  });

  it("has no value where its query finds none: no model words it as a zero", async () => {
    const { prompts, generate } = asked(["SELECT AVG(amount) FROM orders WHERE city = 'Rom'"]);
    const answer = await generate({ prompt: "What is the average amount in Rom?", files: [orders] });
    expect(answer.text).toBe("The query finds no value.");
    expect(prompts).toHaveLength(2);
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

  it("says what still speaks against its query, and takes the first one where the second is worse", async () => {
    const { generate, prompts } = asked(["SELECT COUNT(*) FROM orders WHERE city = 'Bonn'"]);
    const answer = await generate({ prompt: "How many orders from Bonn?", files: [orders] });
    expect(answer.text).toBe("0");
    expect(answer.notes).toEqual([
      "the query may not ask what you meant: no city is 'Bonn'; there is 'Linz', 'Graz', 'Wien'",
    ]);
    expect(prompts).toHaveLength(2);

    const worse = asked(["SELECT COUNT(*) FROM orders", "SELECT COUNT(*) FROM orders WHERE city = 'X' AND city = 'Y'"]);
    const first = await worse.generate({ prompt: "How many orders from Linz?", files: [orders] });
    expect(first.query?.text).toBe("SELECT COUNT(*) FROM orders");
    expect(first.notes).toEqual(["the query may not ask what you meant: it has no condition on 'Linz' (city)"]);
  });

  it("says why a table is read by a model that can't be queried, and nothing of JSON that is no table", async () => {
    const wideTable = { path: "w.csv", text: `${"a,".repeat(300)}b\n${"1,".repeat(300)}2\n` };
    const { generate } = asked(["About 3."]);
    const answer = await generate({ prompt: sum, files: [wideTable] });
    expect(answer.text).toBe("About 3.");
    expect(answer.notes).toEqual([
      "no query answers this, so a model read the rows and may have miscounted (w.csv has 301 columns, 200 can be queried)",
    ]);
    const json = asked(["Three."]);
    const files = [{ path: "package.json", text: '{"dependencies":{"a":"1"}}' }];
    expect((await json.generate({ prompt: "How many dependencies are there?", files })).notes).toEqual([]);
  });

  it("is answered from a list in JSON, and from two tables together", async () => {
    const json = asked(["SELECT SUM(n) FROM items"]);
    const files = [{ path: "items.json", text: '[{"n":1},{"n":2}]' }];
    expect(await json.generate({ prompt: "What is the sum of n?", files })).toMatchObject({ text: "3" });

    const cities = { path: "cities.csv", text: "city;state\nLinz;OÖ\nGraz;Stmk\nWien;Wien\n" };
    const sql = "SELECT COUNT(*) FROM orders o JOIN cities c ON o.city = c.city WHERE c.state = 'OÖ'";
    const joined = asked([sql]);
    const answer = await joined.generate({ prompt: "How many orders are from OÖ?", files: [orders, cities] });
    expect(answer).toMatchObject({ text: "100", notes: [] });
  });

  it("says how many rows a long list has, and from how many the answer is made", async () => {
    const { generate } = asked(["SELECT id FROM orders", "0, 1, 2 and so on."]);
    const answer = await generate({ prompt: "List all ids.", files: [orders] });
    expect(answer.notes).toEqual(["the query gives 300 rows; the answer is made from the first 50"]);
    expect(answer.query?.total).toBe(300);
  });

  it("says that a check, and grounding where it is asked for, do not apply", async () => {
    const { generate, prompts } = asked(["SELECT SUM(amount) FROM orders"]);
    const answer = await generate({ prompt: sum, files: [orders], check: "agree", grounded: true });
    expect(answer).toMatchObject({
      text: "300150",
      notes: ['check "agree" and grounded not applied: the answer is from the rows of a query'],
    });
    expect(answer.check).toBeUndefined();
    expect(prompts).toHaveLength(1);
  });

  it("is worded where a command checks the answer, and that one is asked", async () => {
    const settings = { checks: { yes: { command: [process.execPath, "-e", "process.exit(0)"] } } };
    const { generate, prompts } = asked(["SELECT SUM(amount) FROM orders", "It is 300150."], [wide], { settings });
    const answer = await generate({ prompt: sum, files: [orders], check: { command: "yes" } });
    expect(answer).toMatchObject({ text: "It is 300150.", notes: [], check: { kind: "command" } });
    expect(prompts).toHaveLength(2);
  });

  it("keeps its model for the wording, and is no task of code", async () => {
    const { generate, requests } = asked(["SELECT city FROM orders", "Linz."]);
    const request = { prompt: "List the cities.", files: [orders], keepAliveSeconds: 0 };
    await generate(request);
    expect(requests.map(({ keepAliveSeconds }) => keepAliveSeconds)).toEqual([10, 0]);

    const events = createEvents(createLog("warn", () => undefined));
    const ended: string[] = [];
    events.on(["request ended"], (event) => void (event.kind === "request ended" && ended.push(event.task)));
    const direct = asked(["SELECT SUM(amount) FROM orders"], [wide], { events });
    const answer = await direct.generate({ prompt: sum, files: [orders] });
    events.flush();
    expect(answer.route?.task).not.toBe("code");
    expect(ended).toEqual([answer.route?.task]);
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
  ])("is none for %s", async (_, request) => {
    const { generate } = asked(["SELECT 1 FROM orders"]);
    expect((await generate({ prompt: sum, ...request })).query).toBeUndefined();
  });
});

describe("what asks of rows", () => {
  const asks = (prompt: string) => asksOfRows({ prompt }, "general");

  it.each(["tables", "exports"])("are all questions of the benchmark: %s", async (set) => {
    const text = await readFile(new URL(`../../../bench/judgement/sets/${set}.dev.jsonl`, import.meta.url), "utf8");
    const questions = text
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { question: string }).question);
    expect(questions.filter((question) => !asks(question))).toEqual([]);
  });

  it.each([
    "How many entries are negative?",
    "Which account has the lowest sum?",
    "How many comments are empty?",
    "总销售金额是多少?",
    "列出所有门店",
  ])("is %j", (prompt) => {
    expect(asks(prompt)).toBe(true);
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
    "Which comments are negative?",
    "How many of the comments sound angry?",
    "Summarize the complaints.",
    "List the main complaints.",
    "What is the overall sentiment of the reviews?",
    "Welche Kommentare sind negativ?",
    "Wie viele Bewertungen klingen verärgert?",
    "Quels commentaires sont négatifs ?",
    "¿Qué comentarios son negativos?",
    "Quali commenti sono negativi?",
    "哪些评论是负面的?",
    "总结这些投诉。",
    "请把评论翻译成英文。",
  ])("is not %j", (prompt) => {
    expect(asks(prompt)).toBe(false);
  });
});
