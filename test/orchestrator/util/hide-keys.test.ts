import { expect, it } from "vitest";
import { hideKeys } from "../../../src/orchestrator/util/control-characters.ts";

it.each(["sk-", "eyJ-", "AIza-", "key_a-"])("a text of many %s is read in time that grows with its length", (piece) => {
  const text = piece.repeat(400_000 / piece.length);
  const from = performance.now();
  hideKeys(text);
  // Quadratic time would be more than half a minute.
  expect(performance.now() - from).toBeLessThan(5_000);
});

it("a key in a text is hidden", () => {
  expect(hideKeys("Use sk-proj-abcdEFGH1234567890 for it")).toBe("Use *** for it");
  expect(hideKeys(`signed eyJ${"a".repeat(40)}.${"b".repeat(40)}.c today`)).toBe("signed *** today");
});
