import fc from "fast-check";
import { stringify } from "smol-toml";
import { stringify as stringifyYaml } from "yaml";

/** JSONC as people write it: comments, blank lines, odd indents, trailing commas, either line break. */
export const jsoncDocument = fc
  .record({
    newline: fc.constantFrom("\n", "\r\n"),
    indent: fc.constantFrom("", "  ", "\t", "      "),
    before: fc.array(fc.constantFrom("// a", "/* b */", "/* c\n d */", "", "   "), { maxLength: 3 }),
    finalNewline: fc.boolean(),
    value: fc.dictionary(jsonKey(), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 }),
    servers: fc.option(fc.dictionary(jsonKey(), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 }), { nil: undefined }),
    notes: fc.infiniteStream(fc.constantFrom("", "", "", " // n", " /* n */", "\n// own line", "\n\n", " /* a\nb */ ")),
    trailingComma: fc.boolean(),
  })
  .map(({ newline, indent, before, finalNewline, value, servers, notes, trailingComma }) => {
    const write = (item: unknown, outer: string): string => {
      if (typeof item !== "object" || item === null || Array.isArray(item)) return JSON.stringify(item);
      const inner = outer + indent;
      const entries = Object.entries(item);
      const lines = entries.map(([name, one], index) => {
        const comma = index < entries.length - 1 || trailingComma ? "," : "";
        const [first, second] = [notes.next().value ?? "", notes.next().value ?? ""];
        return `\n${inner}${JSON.stringify(name)}:${note(first)} ${write(one, inner)}${comma}${note(second)}`;
      });
      return `{${note(notes.next().value ?? "")}${lines.join("")}\n${outer}}`;
    };
    const note = (text: string): string => (text.includes("//") ? `${text}\n` : text);
    const whole = { ...value, ...(servers !== undefined && { mcpServers: servers }) };
    const text = `${before.join("\n")}\n${write(whole, "")}${finalNewline ? "\n" : ""}`;
    return text.replaceAll("\n", newline);
  });

function jsonKey(): fc.Arbitrary<string> {
  return fc.string({ maxLength: 8 }).filter((name) => name !== "ollm" && name !== "mcpServers" && name !== "__proto__");
}

const tomlKey = fc
  .oneof(fc.stringMatching(/^[a-z]{1,6}$/), fc.string({ maxLength: 6 }))
  .filter((name) => name !== "__proto__");
const tomlLeaf = fc.oneof(
  fc.string(),
  fc.integer(),
  fc.boolean(),
  fc.array(fc.string(), { maxLength: 3 }),
  fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) }),
);
const tomlTable = fc.dictionary(tomlKey, tomlLeaf, { maxKeys: 4 });

/** TOML as people write it: smol-toml's own writing with comments and blank lines between, either line break. */
export const tomlDocument = fc
  .record({
    root: tomlTable,
    servers: fc.dictionary(
      tomlKey.filter((name) => name !== "ollm"),
      tomlTable,
      { maxKeys: 3 },
    ),
    others: fc.dictionary(
      tomlKey.filter((name) => name !== "mcp_servers"),
      tomlTable,
      { maxKeys: 3 },
    ),
    notes: fc.infiniteStream(fc.constantFrom("", "", "# note", "  # [mcp_servers.ollm]", " ")),
    newline: fc.constantFrom("\n", "\r\n"),
    finalNewline: fc.boolean(),
  })
  .map(({ root, servers, others, notes, newline, finalNewline }) => {
    const written = stringify({ ...root, ...others, ...(Object.keys(servers).length > 0 && { mcp_servers: servers }) });
    const lines = written.split("\n").flatMap((line) => {
      const note = String(notes.next().value ?? "");
      return note === "" ? [line] : [line, note];
    });
    return lines.join(newline).trimEnd() + (finalNewline ? newline : "");
  });

/** YAML as people and goose write it: either indent of lists, comments and blank lines between, either line break. */
export const yamlDocument = fc
  .record({
    root: fc.dictionary(
      jsonKey().filter((name) => name !== "extensions"),
      fc.jsonValue({ maxDepth: 2 }),
      { maxKeys: 3 },
    ),
    extensions: fc.option(fc.dictionary(jsonKey(), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 }), { nil: undefined }),
    others: fc.dictionary(fc.stringMatching(/^z[a-z]{1,3}$/), fc.jsonValue({ maxDepth: 1 }), { maxKeys: 2 }),
    indent: fc.constantFrom(2, 4),
    indentSeq: fc.boolean(),
    notes: fc.infiniteStream(fc.constantFrom("", "", "", "# note", "  # ollm:", "")),
    newline: fc.constantFrom("\n", "\r\n"),
    finalNewline: fc.boolean(),
  })
  .map(({ root, extensions, others, indent, indentSeq, notes, newline, finalNewline }) => {
    const values = { ...root, ...(extensions !== undefined && { extensions }), ...others };
    const style = { indent, indentSeq, lineWidth: 0, blockQuote: false } as const;
    const written = Object.keys(values).length === 0 ? "" : stringifyYaml(values, style);
    const lines = written.split("\n").flatMap((line) => {
      const note = String(notes.next().value ?? "");
      return note === "" ? [line] : [line, note];
    });
    return lines.join(newline).trimEnd() + (finalNewline ? newline : "");
  });
