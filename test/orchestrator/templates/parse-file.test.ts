import { describe, expect, it } from "vitest";
import { parseTemplate } from "../../../src/orchestrator/templates/parse-file.ts";

const bomb = `a: &a [x]\nb: &b [${"*a,".repeat(20)}]\nc: &c [${"*b,".repeat(20)}]\ntemplate: x\nvariables: [${"*c,".repeat(20)}]\n`;

describe("a template's file", () => {
  it("may have every field", async () => {
    const text = `# A comment.
name: greet
description: Greets.
system: Be {tone}.
template: |
  Greet {who}
  in {words:20} words.
variables:
  - { name: words, type: number, default: 20 }
  - { name: tone, enum: [warm, curt], description: How. }
profile: creative
options: { temperature: 0.2, topP: 0.9, maxTokens: 100 }
format: { type: object }
`;
    expect(await parseTemplate(text, "file")).toEqual({
      template: {
        name: "greet",
        description: "Greets.",
        system: "Be {tone}.",
        template: "Greet {who}\nin {words:20} words.\n",
        variables: [
          { name: "words", type: "number", isRequired: false, default: "20" },
          { name: "tone", type: "string", isRequired: true, enum: ["warm", "curt"], description: "How." },
          { name: "who", type: "string", isRequired: true },
        ],
        profile: "creative",
        options: { temperature: 0.2, topP: 0.9, maxTokens: 100 },
        format: { type: "object" },
      },
    });
  });

  it("needs only the text: its name is the file's", async () => {
    expect(await parseTemplate("\uFEFFtemplate: Hi {who}\r\n", "hi")).toEqual({
      template: {
        name: "hi",
        description: "",
        template: "Hi {who}",
        variables: [{ name: "who", type: "string", isRequired: true }],
      },
    });
  });

  it("can't include another template: {template} is a variable", async () => {
    const read = await parseTemplate("name: a\ntemplate: '{a} {include:b}'\n", "a");
    expect(read).toHaveProperty("template.variables", [
      { name: "a", type: "string", isRequired: true },
      { name: "include", type: "string", isRequired: false, default: "b" },
    ]);
  });

  it.each<[string, string, string, number | undefined]>([
    ["nothing", " \n", "is empty: add a template or remove the file", undefined],
    ["only a comment", "# x\n", 'contains no template: expected lines such as "template: Summarise {text}"', undefined],
    ["a list", "- a\n", 'contains no template: expected lines such as "template: Summarise {text}"', undefined],
    ["no text", "name: a\n", "template is missing", 1],
    ["an empty text", 'template: ""\n', 'template must not be empty, got ""', 1],
    ["a misspelt field", "template: x\ndescripton: y\n", "unknown field descripton, did you mean description?", 2],
    ["an unknown field", "template: x\nzzz: y\n", "unknown field zzz, allowed: name, description,", 2],
    [
      "an unknown field of a variable",
      "template: '{a}'\nvariables:\n  - name: a\n    defualt: 1\n",
      "unknown field variables.0.defualt, did you mean default?",
      4,
    ],
    ["an invalid type", "template: [x]\n", 'template must be a string, got ["x"]', 1],
    [
      "an invalid type of a variable",
      "template: '{a}'\nvariables:\n  - { name: a, type: nmuber }\n",
      'variables.0.type must be one of string, number, boolean, got "nmuber"',
      3,
    ],
    ["variables as a map", "template: x\nvariables:\n  a: 1\n", 'variables must be an array, got {"a":1}', 3],
    [
      "an invalid name of a variable",
      "template: x\nvariables:\n  - name: a b\n",
      "variables.0.name must be letters, digits and _, no digit first",
      3,
    ],
    [
      "a temperature out of range",
      "template: x\noptions:\n  temperature: 3\n",
      "options.temperature must be at most 2, got 3",
      3,
    ],
    ["an invalid format", "template: x\nformat: xml\n", 'format must be json or a JSON Schema, got "xml"', 2],
    ["a name that is a path", "name: ../x\ntemplate: x\n", 'name "../x" is not a valid name', 1],
    [
      "a reserved name",
      "name: memory\ntemplate: x\n",
      'name "memory" is the name of another prompt of ollm: choose another name',
      1,
    ],
    [
      "a name that is a device",
      "name: NUL\ntemplate: x\n",
      'name "NUL" is the name of a device on Windows: choose another name',
      1,
    ],
    ["a model and a profile", "template: x\nmodel: m\nprofile: code\n", "has both model and profile: keep one", 3],
    [
      "different defaults",
      "name: a\ntemplate: |\n  {a:1}\n\n  {a:2}\n",
      'two defaults, "1" (template line 1) and "2" (template line 3): keep one',
      5,
    ],
    ["a duplicate key", "template: x\ntemplate: y\n", "has the duplicate key template", 2],
    ["a text that isn't YAML", "template: 'x\n", "Missing closing 'quote", 2],
    ["two documents", "template: x\n---\ntemplate: y\n", "contains more than one document (---)", 2],
    ["a bomb", bomb, "has too many aliases (*name)", undefined],
    ["a cycle", "template: x\nformat: &a { b: *a }\n", "has an alias (*name) inside its own anchor", undefined],
    ["the key __proto__", "template: x\nformat: { __proto__: { a: 1 } }\n", "has a key that is not a scalar", 2],
    ["a tag", "template: !run x\n", "has the unsupported tag !run", 1],
  ])("with %s is reported with its line", async (_what, text, problem, line) => {
    const read = await parseTemplate(text, "file");
    expect(read).toEqual({ problem: expect.stringContaining(problem), ...(line !== undefined && { line }) });
  });
});
