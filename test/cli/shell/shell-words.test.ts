import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { inChatWords, inShellWords } from "../../../src/cli/shell/shell-words.ts";
import { tools } from "../../../src/tools/index.ts";

describe("what tools say to assistants", () => {
  it.each([
    [
      'call pull_model with model "qwen2.5:7b" (a 4.7 GB download), then call this again',
      "ollm pull qwen2.5:7b (a 4.7 GB download), then try again",
    ],
    [
      'pull_model {"model": "a:b"} adds it; list_models shows what is installed.',
      "ollm pull a:b adds it; ollm models shows what is installed.",
    ],
    ["Call pull_model again: it goes on with what arrived.", "Run ollm pull again: it goes on with what arrived."],
    [
      "Call pull_model with a model that has vision, such as llava.",
      "Get a model that has vision (ollm pull NAME), such as llava.",
    ],
    ["free memory, or pull_model a model below 4.7 GB", "free memory, or get a model below 4.7 GB (ollm pull NAME)"],
    [
      "Call pull_model; list_models names a model that fits.",
      "ollm pull NAME gets one; ollm models names a model that fits.",
    ],
    [
      "call manage_model with action unpin for a:1, b:2, or lower context_tokens",
      "ollm unpin NAME for each of a:1, b:2, or lower --context-size",
    ],
    [
      'Call smart_load with model "a:1" and dry_run to see the numbers, or pull_model with a smaller one.',
      "ollm load a:1 --dry-run to see the numbers, or get a smaller one (ollm pull NAME).",
    ],
    ["Call route_and_generate again, or with another model.", "Try again, or with another model."],
    ["call recall without a key", "ollm memory list shows the keys"],
    [
      "Choose another name, or call again with overwrite: true to replace it.",
      "Choose another name, or add --overwrite to replace it.",
    ],
    [
      'pick_winner with comparison_id "c1" makes routing prefer one',
      "ollm winners --pick MODEL --comparison c1 makes routing prefer one",
    ],
    [
      "The ollm daemon was restarted while route_and_generate was under way, and its answer is lost. Calling again is safe.",
      "The ollm daemon was restarted meanwhile, and the answer is lost. Trying again is safe.",
    ],
  ])("%s", (said, shown) => {
    expect(inShellWords(said)).toBe(shown);
  });

  it("names what a chat has itself as one types it there", () => {
    expect(inChatWords("ollm pull x, or ollm models to see what is there")).toBe(
      "ollm pull x, or /model list to see what is there",
    );
    expect(inChatWords("ollm unload --all")).toBe("ollm unload --all");
  });

  it("never names a tool or its arguments at a terminal, wherever it is said", () => {
    const left = messagesNaming(toolNames).filter(({ text }) => toolNames.test(inShellWords(text)));
    expect(left).toEqual([]);
  });
});

/** Those that no prose has. */
const toolNames = new RegExp(
  `\\b(?:${tools
    .map(({ name }) => name)
    .filter((name) => name.includes("_"))
    .join("|")}|overwrite: true|call (?:this |it )?again)\\b`,
  "i",
);

/** Of the orchestrator and the front: all literals but descriptions of tools, which assistants alone read. */
function messagesNaming(names: RegExp): readonly { readonly file: string; readonly text: string }[] {
  const root = path.resolve(import.meta.dirname, "../../../src");
  return ["orchestrator", "cli/front"].flatMap((folder) =>
    readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .flatMap((file) => {
        const code = readFileSync(path.join(root, folder, file), "utf8").replaceAll(/^\s*(?:\/\/|\/?\*).*$/gm, "");
        return (
          [...code.matchAll(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`/g)]
            .map(([literal]) => literal.slice(1, -1).replaceAll(/\$\{[^}]*\}/g, "X"))
            // A name alone is no sentence.
            .filter((text) => text.includes(" ") && names.test(text))
            .map((text) => ({ file, text }))
        );
      }),
  );
}
