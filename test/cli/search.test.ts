import { expect, it } from "vitest";
import { search, searchPages } from "../../src/cli/commands/pull.ts";

it("encodes what is searched for, so that an address holds nothing but one query", () => {
  const query = "qwen & coder/7b #1 100% \u00fc ?a=b";
  const [ollama, huggingFace] = searchPages(query).map(({ url }) => new URL(url));
  expect([ollama?.host, ollama?.pathname, [...(ollama?.searchParams ?? [])]]).toEqual([
    "ollama.com",
    "/search",
    [["q", query]],
  ]);
  expect([huggingFace?.host, huggingFace?.pathname, [...(huggingFace?.searchParams ?? [])]]).toEqual([
    "huggingface.co",
    "/models",
    [
      ["library", "gguf"],
      ["search", query],
    ],
  ]);
  expect(ollama?.hash).toBe("");
});

it("lists everything without words", () => {
  expect(searchPages("").map(({ url }) => url)).toEqual([
    "https://ollama.com/library",
    "https://huggingface.co/models?library=gguf",
  ]);
});

it("prints the addresses with what to do next, or as one JSON value", async () => {
  let text = "";
  const io = { stdout: (part: string) => void (text += part) };
  expect(await search(["small", "coder"], {}, io)).toBe(0);
  expect(text).toMatch(/^Ollama's library:\n {2}https:\S+\?q=small\+coder\n[^]*ollm pull NAME\n/);
  text = "";
  await search([], { json: true }, io);
  expect(JSON.parse(text)).toEqual({ query: "", pages: searchPages("") });
});
