import fc from "fast-check";
import { expect, test } from "vitest";
import { formatAgo, formatRate, formatSpan, formatTokens, visibleName, visibleText } from "../../src/ui/format.ts";

test.each([
  ["smollm2:135m", "smollm2:135m"],
  ["<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"],
  ["model\u202Egpj.exe", "model\uFFFDgpj.exe"],
  ["a\u0000b\u001B[31mc\u009B", "a\uFFFDb\uFFFD[31mc\uFFFD"],
  ["zero\u200Bwidth\u2066\uFEFF", "zero\uFFFDwidth\uFFFD\uFFFD"],
  ["line\nbreak\ttab", "line\uFFFDbreak\uFFFDtab"],
  ["tag\u{E0041}", "tag\uFFFD"],
  ["grüße 模型 👩‍💻", "grüße 模型 👩‍💻"],
])("the name %j is shown as %j", (name, shown) => {
  expect(visibleName(name)).toBe(shown);
});

test("no name keeps a character that controls or reorders text", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (name) => {
      expect(/[\p{Control}\p{Bidi_Control}\u2028\u2029]/u.test(visibleName(name))).toBe(false);
    }),
  );
});

test("a text keeps its lines", () => {
  expect(visibleText("a\r\nb\tc\u202E\u0007")).toBe("a\nb\tc\uFFFD\uFFFD");
});

test.each([
  [0, "0 s"],
  [59_999, "59 s"],
  [60_000, "1 min"],
  [3_600_000, "1 h"],
  [7_500_000, "2 h 5 min"],
  [45_000_000, "12 h"],
  [259_200_000, "3 days"],
  [-5, "0 s"],
])("%d ms are %s", (milliseconds, text) => {
  expect(formatSpan(milliseconds)).toBe(text);
});

test("times and figures are short", () => {
  const now = Date.parse("2026-11-23T10:00:00Z");
  expect(formatAgo("2026-11-23T09:59:58Z", now)).toBe("just now");
  expect(formatAgo("2026-11-23T09:57:00Z", now)).toBe("3 min ago");
  expect(formatAgo("never", now)).toBe("");
  expect([0.44, 9.96, 42.4, 1204].map(formatRate)).toEqual(["0.4", "10.0", "42", "1,204"]);
  expect([0, 950, 1_000, 12_345, 999_960, 4_100_000].map(formatTokens)).toEqual([
    "0",
    "950",
    "1k",
    "12.3k",
    "1M",
    "4.1M",
  ]);
});
