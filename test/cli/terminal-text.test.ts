import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  styled,
  control,
  errorText,
  hasColours,
  terminalText,
  wrappedQuestion,
} from "../../src/cli/terminal/terminal-text.ts";
import { advice } from "../../src/orchestrator/api/next-step.ts";
import { jsonText } from "../../src/orchestrator/util/control-characters.ts";

// oxlint-disable-next-line no-control-regex -- control characters are what this is about.
const steering = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
const nasty = fc
  .array(
    fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom("\u001B[", "\u001B]0;", "\u0007", "\u009B31m", "\u202E", "\u2066", "\r", "\u0008", ";1m"),
    ),
  )
  .map((parts) => parts.join(""));

describe("a question", () => {
  it("wraps at words and keeps its indents, its lines and the space before the answer", () => {
    expect(wrappedQuestion("Folder for files (empty: none): ", 20)).toBe("Folder for files\n(empty: none): ");
    expect(wrappedQuestion("Two lines:\n  the second one? [y/N] ", 16)).toBe("Two lines:\n  the second\n  one? [y/N] ");
    expect(wrappedQuestion("Pull it? [y/N] ", undefined)).toBe("Pull it? [y/N] ");
    expect(wrappedQuestion("", 80)).toBe("");
  });
});

describe("what goes to a terminal", () => {
  it("has no control character, whatever was written; lines, tabs and all that can be seen stay", () => {
    fc.assert(
      fc.property(nasty, (text) => {
        expect(terminalText(text)).not.toMatch(steering);
      }),
    );
    expect(terminalText("a\tb\r\nc \u001B]0;title\u0007d\u0085")).toBe("a\tb\nc ]0;titled");
    expect(terminalText("👩‍👩‍👧 عربي 한글")).toBe("👩‍👩‍👧 عربي 한글");
  });

  it("keeps our own styles, and no style that a text brings along", () => {
    const shown = terminalText(styled("evil\u001B[31m\u001B[8mname", "dim", { hasColour: true }));
    expect(shown).toBe("\u001B[2mevil[31m[8mname\u001B[22m");
  });

  it("knows its own sequences by a mark that no text can know", () => {
    expect(terminalText(`${control("A", 3)}${control("G")}${control("J", 0)}`)).toBe("\u001B[3A\r\u001B[0J");
    const [, mark = ""] = /\[(\d+;\d+;\d+);/.exec(control("m", 1)) ?? [];
    const other = mark.replaceAll(/\d+/g, (digits) => String((Number(digits) % 9_000) + 1_000));
    expect(terminalText(control("m", 1).replace(mark, other))).toBe(`[${other};1m`);
  });
});

describe("JSON for a terminal", () => {
  it("is the same value, with every control character escaped", () => {
    fc.assert(
      fc.property(nasty, (text) => {
        expect(JSON.parse(jsonText({ text }))).toEqual({ text });
        expect(jsonText({ text })).not.toMatch(steering);
      }),
    );
    expect(jsonText("\u009B\u202E")).toBe(String.raw`"\u009b\u202e"`);
  });
});

describe("colours", () => {
  afterEach(() => void vi.unstubAllEnvs());

  it.each([
    [{ TERM: "xterm-256color" }, true, false],
    [{ TERM: "xterm-256color", NO_COLOR: "1" }, false, false],
    [{ TERM: "dumb" }, false, false],
    [{ TERM: "dumb", FORCE_COLOR: "1" }, true, true],
    [{ TERM: "xterm-256color", FORCE_COLOR: "0" }, false, false],
  ])("with %j: in a terminal %j, elsewhere %j", (environment, inTerminal, elsewhere) => {
    for (const name of [
      "NO_COLOR",
      "FORCE_COLOR",
      "NODE_DISABLE_COLORS",
      "CI",
      "TMUX",
      "COLORTERM",
      "TEAMCITY_VERSION",
    ])
      vi.stubEnv(name, undefined);
    for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
    expect([hasColours({ isTTY: true }), hasColours({ isTTY: false })]).toEqual([inTerminal, elsewhere]);
  });

  it("mark errors, and nothing of their text", () => {
    const error = { message: "it \u001B[31mfailed\nollm: imitated" };
    expect(terminalText(errorText(error, undefined, { hasErrorColour: true }))).toBe(
      "\u001B[31mollm:\u001B[39m it [31mfailed\n  ollm: imitated\n",
    );
    expect(terminalText(errorText(error))).toBe("ollm: it [31mfailed\n  ollm: imitated\n");
  });

  it("errors are wrapped at words in a terminal, and commands in them stay whole", () => {
    const error = {
      message: "the registry can't be reached: registry.ollama.ai (ENOTFOUND)",
      next: [
        advice("run `ollm pull qwen3:4b-instruct` again"),
        advice("download the file and run `ollm import FILE NAME`"),
      ],
    };
    const lines = terminalText(errorText(error, undefined, { errorColumns: 40 })).split("\n");
    expect(lines).toEqual([
      "ollm: the registry can't be reached:",
      "  registry.ollama.ai (ENOTFOUND)",
      "  Run `ollm pull qwen3:4b-instruct`",
      "  again, or download the file and run",
      "  `ollm import FILE NAME`.",
      "",
    ]);
    expect(terminalText(errorText(error)).split("\n")).toHaveLength(3);
  });
});
