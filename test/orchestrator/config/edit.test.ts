import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { editText } from "../../../src/orchestrator/config/edit.ts";
import { at } from "../../../src/orchestrator/config/paths.ts";
import { parseYaml } from "../../../src/orchestrator/util/parse-yaml.ts";

const edit = (text: string, path: string, value?: unknown) => editText(text, { path: path.split("."), value }, 100_000);

const file = `# my settings
model:
  # the one I like
  default: qwen   # trailing
  routing: {enabled: false}   # off
  keepAlive:
    models: # stay
      - a  # one
      - b

# sampling
options:
  text: |
    hello
    world

# end
`;

describe("editText", () => {
  it.each([
    ["model.default", "llama3:8b", "  default: qwen ", "  default: llama3:8b "],
    ["model.routing.enabled", true, "{enabled: false}", "{enabled: true}"],
    ["model.routing.defaultProfile", "code", "{enabled: false}", "{enabled: false, defaultProfile: code}"],
    ["model.keepAlive.models", ["x"], "models: # stay\n      - a  # one\n      - b\n", "models: [x] # stay\n"],
    ["model.keepAlive.timeout", 5, "      - b\n", "      - b\n    timeout: 5\n"],
    ["options.text", "bye", "text: |\n    hello\n    world\n", "text: bye\n"],
    ["options.temperature", 0.2, "    world\n", "    world\n  temperature: 0.2\n"],
    ["queue.maxWaiting", 3, "# end\n", "# end\nqueue:\n  maxWaiting: 3\n"],
    ["model.default", undefined, "  default: qwen   # trailing\n", ""],
    ["model.routing.enabled", undefined, "{enabled: false}", "{}"],
    ["model.keepAlive.models", undefined, "    models: # stay\n      - a  # one\n      - b\n", ""],
  ])("changes %s to %j and no other byte", async (path, value, before, after) => {
    // New lines go to the end of the last section, before the comments after it.
    const expected = path.startsWith("queue") ? "    world\nqueue:\n  maxWaiting: 3\n" : after;
    const text = path.startsWith("queue") ? "    world\n" : before;
    expect(file).toContain(text);
    expect(await edit(file, path, value)).toBe(file.replace(text, expected));
  });

  it.each([
    ["", "a:\n  b: 1\n"],
    ["# only words", "# only words\na:\n  b: 1\n"],
    ["a:\n", "a:\n  b: 1\n"],
    ["a: {}\n", "a: {b: 1}\n"],
    ["a: ~\nc: 2\n", "a:\n  b: 1\nc: 2\n"],
    ["a: # words\n  # b: 3\nc: 2\n", "a: # words\n  b: 1\n  # b: 3\nc: 2\n"],
    ["c: 2", "c: 2\na:\n  b: 1\n"],
    ["c: 2\r\n", "c: 2\r\na:\r\n  b: 1\r\n"],
    ["{c: 2}\n", "{c: 2, a: {b: 1}}\n"],
    ["'a':\n    'b': 7\n", "'a':\n    'b': 1\n"],
    ["a:\n  b:\n", "a:\n  b: 1\n"],
    ["a:\n  b: [\n    x, # first\n  ]\n", "a:\n  b: 1\n"],
  ])("sets a.b in %j", async (before, after) => {
    expect(await edit(before, "a.b", 1)).toBe(after);
  });

  it.each([
    ["a:\n  b: 1\n", ""],
    ["a:\n  b: 1\nc: 2\n", "c: 2\n"],
    ["a:\n  # why\n  b: 1\nc: 2\n", "a:\n  # why\nc: 2\n"],
    ["a: {b: 1, c: 2}\n", "a: {c: 2}\n"],
    ["a: {c: 2, b: 1}\n", "a: {c: 2}\n"],
    ["a: 1\n", "a: 1\n"],
    ["a:\n  b: 1", ""],
  ])("removes a.b from %j", async (before, after) => {
    expect(await edit(before, "a.b")).toBe(after);
  });

  it("rejects an edit that would change another value, too", async () => {
    await expect(edit("x: &x {b: 1}\na: *x\n", "x.b", 2)).rejects.toThrow(
      "x.b can't be changed in a file written like this",
    );
  });

  it("rewrites a document that it can't splice, with its comments", async () => {
    expect(await edit("# why\n? a\n: b: 1 # one\n", "a.b", 2)).toContain("# why");
  });

  it("sets any value so that it reads back, and keeps its neighbours", async () => {
    const key = fc.constantFrom("a", "b", "default", "qwen2.5*", "x y", "é", "yes", "1");
    const leaf = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.double({ noNaN: true, noDefaultInfinity: true }));
    const value = fc.oneof(leaf, fc.array(leaf, { minLength: 1 }), fc.dictionary(key, leaf, { minKeys: 1 }));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.array(key, { minLength: 1, maxLength: 3 }), value), { maxLength: 6 }),
        async (edits) => {
          let text = "# first\nz: 1 # last\n";
          for (const [path, wanted] of edits) {
            const parsed = await parseYaml(text, 100_000);
            const tree = "value" in parsed ? parsed.value : undefined;
            const isBlocked = path.some((_key, index) => {
              const found = at(tree, path.slice(0, index));
              return index > 0 && found !== undefined && (typeof found !== "object" || Array.isArray(found));
            });
            if (isBlocked) continue;
            text = await editText(text, { path, value: wanted }, 100_000);
            const after = await parseYaml(text, 100_000);
            const got = "value" in after ? at(after.value, path) : undefined;
            expect(JSON.stringify(got)).toBe(JSON.stringify(wanted));
            expect(text.startsWith("# first\nz: 1 # last\n")).toBe(true);
          }
        },
      ),
      { numRuns: 150 },
    );
  });
});
