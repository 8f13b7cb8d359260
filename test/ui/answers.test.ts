import { describe, expect, it } from "vitest";
import { markdown, problemOf, runningAnswers } from "../../src/ui/answers.ts";

describe("the form of a question", () => {
  it.each([
    ["", [], "", /Write what/],
    [" \n", ["a", "b"], "", /Write what/],
    ["Why?", ["a"], "", /at least two/],
    ["Why?", ["a", "b", "c", "d", "e", "f"], "", /at most 5/],
    ["Why?", ["a", "b"], "0", /whole number/],
    ["Why?", ["a", "b"], "1.5", /whole number/],
    ["Why?", ["profile coder", "b"], "", /no profiles/],
  ])("refuses to compare %j of %j with %j tokens", (prompt, models, tokens, message) => {
    expect(problemOf(prompt, models, tokens, true)).toMatch(message);
  });

  it.each([
    ["Why?", [], ""],
    ["Why?", ["a", "b"], " 100 "],
  ])("compares %j of %j with %j tokens", (prompt, models, tokens) => {
    expect(problemOf(prompt, models, tokens, true)).toBeUndefined();
  });

  it("asks one model, or profiles, in a chat", () => {
    for (const chosen of [[], ["a"], ["profile coder", "a"]]) {
      expect(problemOf("Why?", chosen, "", false)).toBeUndefined();
    }
    expect(problemOf("Why?", ["a", "b", "c", "d", "e", "f"], "", false)).toMatch(/at most 5/);
  });
});

describe("the columns of a running comparison", () => {
  it("are there before anything is known of them", () => {
    expect(runningAnswers(["a:1b", "b:2b"], "planning the comparison")).toEqual([
      { model: "a:1b", text: "", state: "waits" },
      { model: "b:2b", text: "", state: "waits" },
    ]);
    expect(runningAnswers([], "planning the comparison")).toEqual([]);
  });

  it("have the state and the text of each model, in the order of the message", () => {
    const message = "a:1b: done, 12.5 tokens/s | b:2b: 40 tokens | nope: failed";
    const texts = [
      { model: "b:2b", text: "It is" },
      { model: "a:1b", text: "Because." },
    ];
    expect(runningAnswers(["a:1b", "b:2b", "nope"], message, texts)).toEqual([
      { model: "a:1b", text: "Because.", state: "done, 12.5 tokens/s" },
      { model: "b:2b", text: "It is", state: "40 tokens" },
      { model: "nope", text: "", state: "failed" },
    ]);
  });

  it("have the names that the daemon chose, or spells otherwise, each once", () => {
    const message = "a:latest: 3 tokens | b:2b: waits";
    const texts = [{ model: "a:latest", text: "x" }];
    expect(runningAnswers([], message, texts).map(({ model }) => model)).toEqual(["a:latest", "b:2b"]);
    expect(runningAnswers(["a", "b:2b"], message, texts).map(({ model }) => model)).toEqual(["a:latest", "b:2b"]);
  });
});

/** Elements as their names around what is in them, with their attributes other than the direction. */
function shown(answer: string): string {
  const text = (parts: unknown): string => (Array.isArray(parts) ? parts.map(text).join("") : String(parts));
  return text(
    markdown<string>(answer, (tag, attributes, children) => {
      const given = Object.entries(attributes).filter(([name, value]) => name !== "dir" && value !== undefined);
      return `<${tag}${given.map(([name, value]) => ` ${name}=${value}`).join("")}>${text(children)}</>`;
    }),
  );
}

describe("an answer in Markdown", () => {
  it.each([
    ["**a** _b_ `c<b>` ~~d~~", "<p><strong>a</> <em>b</> <code>c<b></> <del>d</></>"],
    ["# A\n\n### B", "<h4>A</><h5>B</>"],
    ["- a\n  - b\n\n3. c", "<ul><li>a<ul><li>b</></></></><ol start=3><li>c</></>"],
    ["```js\nlet x = 1 < 2;\n```", "<pre class=text-block tabIndex=0><small>js\n</><code>let x = 1 < 2;</></>"],
    ["|a|b|\n|-|-|\n|1|*2*|", "<table><tbody><tr><th>a</><th>b</></><tr><td>1</><td><em>2</></></></></>"],
    ["> a\nb", "<blockquote><p>a\nb</></>"],
  ])("has %j as elements", (text, elements) => {
    expect(shown(text)).toBe(elements);
  });

  it.each([
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a <b onclick=alert(1)>b</b> <!-- hidden -->",
    "![a picture](http://example.com/x.png)",
    "[a definition]: http://example.com/x",
  ])("shows %j as it is written", (text) => {
    expect(shown(text).replace(/^<p>(.*)<\/>$/, "$1")).toBe(text);
  });

  it.each([
    ["[bank](https://evil.example/?q=secret 'a title')", "bank (https://evil.example/?q=secret)"],
    ["[click](javascript:alert(1))", "click (javascript:alert(1))"],
    ["<https://example.com> www.example.com me@example.com", "https://example.com www.example.com me@example.com"],
    ["[https://bank.example](https://evil.example)", "https://bank.example (https://evil.example)"],
  ])("has %j with its address and no link", (text, elements) => {
    expect(shown(text)).toBe(`<p>${elements}</>`);
  });

  it("makes what reorders or hides text visible", () => {
    expect(shown("a\u202Eb\u200B")).toBe("<p>a\uFFFDb\uFFFD</>");
  });

  it.each([">", "> ", "1. ", "- ", "*a_", "[", "[a](", "![", "<a ", "<!--", "_a", "|", "|a|\n|-|\n|a|\n", "~~a"])(
    "reads 30,000 characters of %j within two seconds, and shows all of them",
    (part) => {
      const startMs = performance.now();
      const elements = shown(part.repeat(30_000 / part.length));
      expect(performance.now() - startMs).toBeLessThan(2_000);
      expect(elements.length).toBeGreaterThan(part.includes("\n") ? 5_000 : 9_000);
    },
  );
});
