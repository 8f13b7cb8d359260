import { describe, expect, it } from "vitest";
import { CallsInText } from "../../../src/orchestrator/checks/calls-in-text.ts";

const text = { type: "string" };
const tools = [
  { name: "read_file", parameters: { type: "object", properties: { path: text }, required: ["path"] } },
  {
    name: "write",
    parameters: { type: "object", properties: { path: text, content: text, lines: { type: "integer" } } },
  },
  { name: "time", parameters: { type: "object" } },
];

function read(pieces: readonly string[], isWhole = true) {
  let passed = "";
  const reader = new CallsInText(tools, (piece) => (passed += piece));
  for (const piece of pieces) reader.add(piece);
  const before = passed;
  reader.end(isWhole);
  return { text: passed, calls: reader.calls.map((call) => [call.name, call.arguments]), before };
}

const a = '{"path":"a.md"}';
const call = '{"name": "read_file", "arguments": {"path": "a.md"}}';
const other = '{"name": "time", "arguments": {}}';
const one = [["read_file", a]];
const two = [...one, ["time", "{}"]];

/** What models write, and the calls and the text that it is. */
const written: readonly (readonly [string, readonly (readonly string[])[], string])[] = [
  [call, one, ""],
  [`\n\n${call}\n`, one, ""],
  [`I'll read it.\n\n${call}`, one, "I'll read it.\n\n"],
  [`${call}\nThen I know more.`, one, "\nThen I know more."],
  [`${call}\n${other}`, two, ""],
  [`[${call}, ${other}]`, two, ""],
  ['{"name":"read_file","parameters":{"path":"a.md"}}', one, ""],
  ['{"arguments":{"path":"a.md"},"name":"read_file"}', one, ""],
  ['{"type":"function","function":{"name":"read_file","arguments":"{\\"path\\":\\"a.md\\"}"}}', one, ""],
  [`{"tool_calls": [{"id": "x", "type": "function", "function": ${call}}]}`, one, ""],
  ['{"tool": "read_file", "input": {"path": "a.md"}}', one, ""],
  [`\`\`\`json\n${call}\n\`\`\``, one, ""],
  [`Sure:\n\`\`\`\n${call}\n${other}\n\`\`\`\nDone.`, two, "Sure:\n\nDone."],
  [`\`\`\`json\r\n${call}\r\n\`\`\`\r\n`, one, ""],
  [`\`\`\`json\n${call}`, one, ""],
  [`<tool_call>\n${call}\n</tool_call>`, one, ""],
  [`<tool_call>${call}</tool_call>\n<tool_call>${other}</tool_call>`, two, ""],
  ['So:\n<tool_call>\n{"name": "delete_all", "arguments": {}}\n</tool_call>', [["delete_all", "{}"]], "So:\n"],
  [`<tool_call>\n${call}`, one, ""],
  [`<tool_call>\n${call}\n</tools>`, one, ""],
  [`Well <tool_call>${call}</tool_call> so.`, one, "Well  so."],
  [`<tools>\n${call}\n${other}\n</tools>`, two, ""],
  [`<tools><tool_call>${call}</tool_call></tools>`, one, ""],
  [`<function_call> ${call} </function_call>`, one, ""],
  [`<|tool_call|>[${call}]<|/tool_call|>`, one, ""],
  [`<|python_tag|>{"name": "read_file", "parameters": {"path": "a.md"}}`, one, ""],
  [`[TOOL_CALLS][${call}, ${other}]`, two, ""],
  [`[TOOL_CALLS]read_file[ARGS]{"path":"a.md"}[TOOL_CALLS]time{}`, two, ""],
  [`<function=read_file>${a}</function>`, one, ""],
  [`<tool_call>\n<function=read_file>\n<parameter=path>\na.md\n</parameter>\n</function>\n</tool_call>`, one, ""],
  [
    "<function=write>\n<parameter=path>\n7\n</parameter>\n<parameter=lines>\n7\n</parameter>\n</function>",
    [["write", '{"path":"7","lines":7}']],
    "",
  ],
  // Only the last brackets lack.
  ['{"name": "read_file", "arguments": {"path": "a.md"}', one, ""],
  ['<tool_call>{"name": "read_file", "arguments": {"path": "a.md"', one, ""],
  // Begun as calls, and no JSON: their arguments say so when they are checked.
  ['{"name": "read_file", "arguments": {\'path\': 1}}', [["read_file", "{'path': 1}}"]], ""],
  ['{"name": "read_file", "arguments": {"path": "a.', [["read_file", '{"path": "a.']], ""],
  ["<function=read_file>\n<parameter=path>\na.", [["read_file", "<parameter=path>\na."]], ""],
];

/** Text, all of it. */
const texts = [
  "",
  "\n",
  "Hello.",
  "A list:\n- [ ] one\n- [x] two\n[link](http://127.0.0.1/)\n",
  '{"name": "Paris", "arguments": {"path": "a.md"}}',
  '{"name": "read_file", "age": 5}',
  '{"name": "read_file"}',
  '{"name": "read_file", "arguments": {"path": "a.md"}, "because": "it is there"}',
  '{"name": "read_file", "arguments": {"path": "a.md"}} is what a call looks like',
  `The call is ${call}`,
  `[${call}, 7]`,
  '{"title": "x", "name": "read_file", "arguments": {}}',
  '{"type": "function"}',
  '{"arguments": {"path": "a.md"}}',
  '```python\nprint({"name": "read_file"})\n```',
  "```\nls -l\n```",
  "```json\n[1, 2, 3]\n```\n",
  "<tool_call>\nno call\n</tool_call>",
  '{"name": "delete_all", "arguments": {}}',
  "<function=delete_all>{}</function>",
  "[TOOL_CALLS]delete_all{}",
  "<div>\n<t>\n<tool>x</tool>",
  '<tools>{"type":"function","function":{"name":"read_file","description":"reads","parameters":{}}}</tools>',
  '{"name": "re',
  "``",
  "{",
  "[",
  "<tool_c",
  `{"tool_calls":${'[{"tool_calls":'.repeat(40)}`,
  '{"function":'.repeat(50_000),
  "{\n".repeat(2_000),
];

describe("calls in a text", () => {
  it.each(written)("%j", (given, calls, rest) => {
    expect(read([given])).toMatchObject({ calls, text: rest });
  });

  it.each(texts.map((each) => [each.slice(0, 60), each]))("are none in %j", (_start, given) => {
    expect(read([given])).toMatchObject({ calls: [], text: given });
  });

  it("are the same wherever the text is split", () => {
    const all = [...written.map(([given]) => given), ...texts.filter(({ length }) => length < 1_000)];
    for (const given of [...all, ...all.map((each, index) => `${each}\n${all[(index + 7) % all.length] ?? ""}`)]) {
      for (const isWhole of [true, false]) {
        const { text: rest, calls } = read([given], isWhole);
        for (let at = 1; at < given.length; at += 1) {
          const split = read([given.slice(0, at), given.slice(at)], isWhole);
          expect({ given, at, text: split.text, calls: split.calls }).toEqual({ given, at, text: rest, calls });
          expect(rest.startsWith(split.before), "what is passed on stays").toBe(true);
        }
        const each = read(given.split(""), isWhole);
        expect({ given, text: each.text, calls: each.calls }).toEqual({ given, text: rest, calls });
      }
    }
  });

  it("hold back what may be one until it is clear, and nothing else", () => {
    const passedOf = (given: string) => read(given.split("")).before;
    expect(passedOf("Hello, world")).toBe("Hello, world");
    expect(passedOf("Look:\n{")).toBe("Look:\n");
    expect(passedOf('Look:\n{"title')).toBe('Look:\n{"title');
    expect(passedOf('{"name": "Par')).toBe('{"name": "Par');
    expect(passedOf('{"name": "read_file", "arguments"')).toBe("");
    expect(passedOf("<tool_call>\nno")).toBe("<tool_call>\nno");
    const long = `{"arguments": {"path": "${"a".repeat(20_000)}`;
    expect(passedOf(long).length, "arguments before a name are held for 16 KB").toBeGreaterThan(16_000);
  });

  it("takes a megabyte in small pieces without looking at it again for each", () => {
    const json = JSON.stringify({ name: "write", arguments: { path: "a", content: "x = {};\n".repeat(100_000) } });
    const pieces = json.match(/[\s\S]{1,4}/g) ?? [];
    const startedAt = performance.now();
    expect(read(pieces).calls).toHaveLength(1);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });
});
