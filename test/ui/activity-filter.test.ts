import { expect, test } from "vitest";
import { choicesOf, joined, outcomeText, requestsQuery, withFilter } from "../../src/ui/activity-filter.ts";

const nowMs = Date.parse("2026-11-23T12:00:00Z");

test("the address keeps each filter", () => {
  const one = withFilter("", "model", "hf.co/a b:q4&x=1");
  const two = withFilter(one, "outcome", "failed");
  expect(Object.fromEntries(new URLSearchParams(two))).toEqual({ model: "hf.co/a b:q4&x=1", outcome: "failed" });
  expect(withFilter(withFilter(two, "outcome", ""), "model", "")).toBe("");
});

test("what the address says is asked of the daemon, the range as a time", () => {
  expect(requestsQuery("model=a%3A1b&client=b+c&range=day", nowMs)).toEqual({
    model: "a:1b",
    client: "b c",
    from: "2026-11-22T12:00:00.000Z",
    by: "model",
  });
});

test("an address that was typed wrong shows all", () => {
  expect(requestsQuery("", nowMs)).toEqual({ by: "model" });
  expect(requestsQuery("range=year&limit=99999&engine=x&by=engine&%zz", nowMs)).toEqual({ by: "model" });
});

test("requests are grouped by what the address says", () => {
  const grouped = withFilter("client=cursor", "by", "task,client");
  expect(requestsQuery(grouped, nowMs)).toEqual({ client: "cursor", by: "client,task" });
});

test("newer requests come before those that are known, which are dropped when others may be between them", () => {
  const rows = (...ids: string[]) => ids.map((id) => ({ id }));
  expect(joined(rows("f", "e", "d"), rows("e", "d", "c", "b", "a"))).toEqual(rows("f", "e", "d", "c", "b", "a"));
  expect(joined(rows("c", "b", "a"), rows("c", "b", "a"))).toEqual(rows("c", "b", "a"));
  expect(joined(rows("z", "y", "x"), rows("c", "b", "a"))).toEqual(rows("z", "y", "x"));
  expect(joined(rows(), rows("a"))).toEqual([]);
});

test("a filter offers what was seen, and what the address names in any case", () => {
  expect(choicesOf("All models", ["a", "b"], "a").map(({ value }) => value)).toEqual(["", "a", "b"]);
  expect(choicesOf("All outcomes", ["failed"], "failed:load_failed").at(-1)).toEqual({
    value: "failed:load_failed",
    text: "failed: load failed",
  });
});

test("an outcome is shown in words, a name of a model as it is", () => {
  expect(["doubtful", "failed:prompt_too_long", "qwen2.5_x:7b"].map(outcomeText)).toEqual([
    "doubtful",
    "failed: prompt too long",
    "qwen2.5_x:7b",
  ]);
});
