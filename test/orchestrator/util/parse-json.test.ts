import fc from "fast-check";
import { performance } from "node:perf_hooks";
import { describe, expect, it } from "vitest";
import { isTooDeep, maxJsonDepth, parseJson } from "../../../src/orchestrator/util/values.ts";

function depthOf(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);

describe("parseJson", () => {
  it("returns and throws what JSON.parse does", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(parseJson(text)).toEqual(JSON.parse(text));
      }),
    );
    expect(() => parseJson("{")).toThrow(SyntaxError);
  });

  it("accepts the maximum depth, and refuses one more", () => {
    expect(depthOf(parseJson(nested(maxJsonDepth)))).toBe(maxJsonDepth);
    expect(() => parseJson(nested(maxJsonDepth + 1))).toThrow("it nests deeper than 128 levels");
    expect(() => parseJson('{"a":'.repeat(129) + "1" + "}".repeat(129))).toThrow(SyntaxError);
  });

  it("does not count brackets in strings, with or without escapes", () => {
    const strings = ["[".repeat(500), '\\"'.repeat(200) + "[".repeat(200), "\\".repeat(300), '"', '\\\\"[[{{'];
    for (const text of strings) expect(parseJson(JSON.stringify([text]))).toEqual([text]);
    // The quote after two backslashes ends the string.
    expect(isTooDeep(`["\\\\",${nested(200)}]`)).toBe(true);
    expect(isTooDeep(`["\\",${nested(200)}]`)).toBe(false);
  });

  it("agrees with the real depth of any JSON", () => {
    fc.assert(
      fc.property(
        fc.jsonValue({ maxDepth: 12 }),
        fc.integer({ min: 0, max: 12 }),
        fc.boolean(),
        (value, limit, pretty) => {
          const text = JSON.stringify(value, null, pretty ? 1 : 0);
          // Texts shorter than the limit can't be deeper.
          expect(isTooDeep(text, limit)).toBe(depthOf(value) > limit);
        },
      ),
    );
  });

  it.each([
    ["4 MB of opened arrays", "[".repeat(4_000_000)],
    ["4 MB of escaped quotes", `["${'\\"'.repeat(2_000_000)}"]`],
    ["4 MB of backslashes", `["${"\\".repeat(4_000_000)}"]`],
    ["4 MB of short strings", `[${'"",'.repeat(1_300_000)}1]`],
  ])("looks through %s in no time", (_, text) => {
    const before = performance.now();
    isTooDeep(text);
    expect(performance.now() - before).toBeLessThan(1_000); // 5 to 30 ms; quadratic work would take minutes
  });
});
