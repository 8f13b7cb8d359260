import { expect, test } from "vitest";
import { choicesOf, outcomeText, requestsQuery, withFilter } from "../../src/ui/activity-filter.ts";

const nowMs = Date.parse("2026-11-23T12:00:00Z");

test("the address keeps each filter, and another one begins with the newest requests", () => {
  const one = withFilter("", "model", "hf.co/a b:q4&x=1");
  const two = withFilter(one, "outcome", "failed");
  const older = withFilter(two, "before", "m4k-12");
  expect(Object.fromEntries(new URLSearchParams(older))).toEqual({
    model: "hf.co/a b:q4&x=1",
    outcome: "failed",
    before: "m4k-12",
  });
  expect(withFilter(older, "before", "")).toBe(two);
  expect(withFilter(older, "outcome", "cancelled")).not.toContain("before");
  expect(withFilter(withFilter(two, "outcome", ""), "model", "")).toBe("");
});

test("what the address says is asked of the daemon, the range as a time", () => {
  expect(requestsQuery("model=a%3A1b&client=b+c&range=day&before=m4k-12", nowMs)).toEqual({
    model: "a:1b",
    client: "b c",
    before: "m4k-12",
    from: "2026-11-22T12:00:00.000Z",
    by: "model",
  });
});

test("an address that was typed wrong shows all", () => {
  expect(requestsQuery("", nowMs)).toEqual({ by: "model" });
  expect(requestsQuery("range=year&limit=99999&engine=x&by=engine&%zz", nowMs)).toEqual({ by: "model" });
});

test("requests are grouped by what the address says, and the page of the list stays", () => {
  const grouped = withFilter("client=cursor&before=m4k-12", "by", "task,client");
  expect(requestsQuery(grouped, nowMs)).toEqual({ client: "cursor", before: "m4k-12", by: "client,task" });
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
