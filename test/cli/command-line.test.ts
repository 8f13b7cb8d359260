import { describe, expect, it } from "vitest";
import { parseCommandLine } from "../../src/cli/command-line.ts";

const parse = (line: string, isTerminal = false) => parseCommandLine(line === "" ? [] : line.split(" "), isTerminal);

describe("parseCommandLine", () => {
  it("serves a host, and helps a person", () => {
    expect(parse("")).toEqual({ name: "serve", flags: {} });
    expect(parse("", true)).toEqual({ name: "help" });
  });

  it.each(["--help", "-h", "help", "--standalone --help", "import --help"])("helps for %s", (line) => {
    expect(parse(line)).toEqual({ name: "help" });
  });

  it.each(["--version", "-v", "import --version"])("says its version for %s", (line) => {
    expect(parse(line)).toEqual({ name: "version" });
  });

  it("serves at a terminal when told to", () => {
    expect(parse("--standalone", true)).toEqual({ name: "serve", flags: {} });
  });

  it("takes the owner's flags, roots repeatedly", () => {
    const line =
      "--standalone --root a --root=b --model m:1b --host :11434 --temperature 0.5 --max-tokens 9 --context-size 4096";
    expect(parse(line)).toEqual({
      name: "serve",
      flags: {
        roots: ["a", "b"],
        model: "m:1b",
        host: ":11434",
        temperature: "0.5",
        maxTokens: "9",
        contextSize: "4096",
      },
    });
  });

  it("imports a file under a name", () => {
    expect(parse("import ./a.gguf my-model")).toEqual({ name: "import", file: "./a.gguf", model: "my-model" });
  });

  it.each([
    ["--rot a", "Unknown option '--rot'"],
    ["--root", "Option '--root <value>' argument missing"],
    ["--standalone=yes", "Option '--standalone' does not take an argument"],
    ["serve", 'unknown command "serve"'],
    ["import a.gguf", "import takes a file and a name"],
    ["import a.gguf b c", "import takes a file and a name"],
  ])("refuses %s", (line, message) => {
    expect(() => parse(line)).toThrow(message);
  });
});
