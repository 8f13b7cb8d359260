import fc from "fast-check";
import { expect, test } from "vitest";
import { createBoundedMap } from "../../../src/orchestrator/util/bounded-map.ts";

test("the least recently used value is removed first, and peek is not a use", () => {
  // "a" and 5 characters of JSON: 6 each.
  const map = createBoundedMap<string>(18);
  for (const key of ["a", "b", "c"]) map.set(key, "123");
  expect(map.get("a")).toBe("123");
  expect(map.peek("b")).toBe("123");
  map.set("d", "123");
  expect(["a", "b", "c", "d"].map((key) => map.peek(key))).toEqual(["123", undefined, "123", "123"]);
});

test("a value above the limit is not stored, and removes no other", () => {
  const map = createBoundedMap<string>(18);
  map.set("a", "123");
  map.set("b", "x".repeat(100));
  expect([map.get("a"), map.get("b")]).toEqual(["123", undefined]);
  map.set("a", "x".repeat(100));
  expect(map.get("a")).toBeUndefined();
});

test("the total never exceeds the limit", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom("a", "b", "c", "d"), fc.string({ maxLength: 20 }))), (sets) => {
      const map = createBoundedMap<string>(40);
      for (const [key, value] of sets) {
        map.set(key, value);
        const kept = ["a", "b", "c", "d"].flatMap((each) => {
          const found = map.peek(each);
          return found === undefined ? [] : [each.length + JSON.stringify(found).length];
        });
        expect(kept.reduce((sum, each) => sum + each, 0)).toBeLessThanOrEqual(40);
      }
    }),
  );
});
