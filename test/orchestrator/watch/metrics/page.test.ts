import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { referencePrices } from "../../../../src/orchestrator/config/schema.ts";
import { moneyReport, referenceOf } from "../../../../src/orchestrator/views/savings.ts";
import { parseSettings } from "../../../../src/orchestrator/config/problems.ts";

const page = readFileSync(new URL("../../../../docs/metrics.md", import.meta.url), "utf8");

test("docs/metrics.md has the prices of the table, and no others", () => {
  const rows = [...page.matchAll(/^\| `([a-z\d.-]+)` +\| ([\d.]+) +\| ([\d.]+) +\| (\d{4}-\d\d-\d\d) \|$/gm)];
  expect(rows.map(([, model, prompt, answer, asOf]) => [model, Number(prompt), Number(answer), asOf])).toEqual(
    Array.from(referencePrices, ([model, price]) => [
      model,
      price.promptPerMillion,
      price.answerPerMillion,
      price.asOf,
    ]),
  );
});

test("docs/metrics.md: the worked example is what the code computes", () => {
  const [read, written] = [...page.matchAll(/ ([\d,]+)(?: tokens)? and wrote ([\d,]+)[,;]/g)]
    .flat()
    .slice(1)
    .map((text) => Number(text.replaceAll(",", "")));
  const [, charged = ""] = /one request for ([\d.]+) USD/.exec(page) ?? [];
  const [, saved = ""] = /saved = 2\.48 \+ 0\.56 - 0\.12 - 0\.012345 =\s([\d.]+) USD/.exec(page) ?? [];
  const [, byAssistants = ""] = /assistants read ([\d,]+)\s/.exec(page) ?? [];
  const count = {
    day: "2026-11-23",
    task: "code",
    client: "client",
    promptTokens: read ?? 0,
    completionTokens: written ?? 0,
    readTokens: Number(byAssistants.replaceAll(",", "")),
    fileTokens: 0,
    paid: [{ currency: "USD", tokens: 1, nanos: Number(charged) * 1e9 }],
  };
  const { month } = moneyReport([count], referenceOf(parseSettings({}, new Map(), "")), Date.parse("2026-11-24"));
  expect(month).toMatchObject({ saved: 2.92, spent: 0.012345, total: Number(saved) });
});

test("docs/metrics.md names every metric of /metrics", () => {
  const source = readFileSync(new URL("../../../../src/server/http/prometheus.ts", import.meta.url), "utf8");
  const names = new Set(source.match(/"ollm_\w+"/g)?.map((name) => name.slice(1, -1)));
  expect(names.size).toBeGreaterThan(15);
  expect([...names].filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
});
