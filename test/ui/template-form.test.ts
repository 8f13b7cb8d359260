import { describe, expect, it } from "vitest";
import { draftOf, emptyDraft, inputOf, placeOf } from "../../src/ui/template-form.ts";
import { lineRange } from "../../src/ui/format.ts";

const template = {
  name: "greet",
  description: "Greets.",
  template: "Greet {who} in {words:20} words.",
  variables: [
    { name: "who", type: "string", required: true, description: "The person." },
    { name: "tone", type: "string", required: true, enum: ["warm", "curt"] },
    { name: "words", type: "number", required: false, default: "20" },
  ],
  system: "Be {tone}.",
  profile: "creative",
  options: { temperature: 0, maxTokens: 50 },
  format: { type: "object" },
  source: "user",
} as const;

describe("a template in its form", () => {
  it("is sent as it was read, unless it is edited", () => {
    expect(inputOf(draftOf(template))).toEqual({
      input: {
        name: "greet",
        description: "Greets.",
        template: "Greet {who} in {words:20} words.",
        system: "Be {tone}.",
        profile: "creative",
        temperature: 0,
        max_tokens: 50,
        format: { type: "object" },
        variables: [
          { name: "who", required: true, type: "string", description: "The person." },
          { name: "tone", required: true, type: "string", enum: ["warm", "curt"] },
          { name: "words", required: false, type: "number", default: "20" },
        ],
      },
    });
  });

  it("leaves out what is empty", () => {
    const draft = { ...emptyDraft, name: " x ", template: "y", system: " ", format: " " };
    expect(inputOf(draft)).toEqual({ input: { name: "x", template: "y" } });
    expect(inputOf({ ...draft, format: "json" })).toEqual({ input: { name: "x", template: "y", format: "json" } });
  });

  it.each([
    ["temperature", "warm"],
    ["maxTokens", "1e"],
    ["format", "{"],
    ["format", "[1]"],
    ["format", "yaml"],
  ] as const)("names the field %s, which can't be %j", (field, text) => {
    expect(inputOf({ ...emptyDraft, name: "x", template: "y", [field]: text })).toMatchObject({ field });
  });
});

describe("an error of the daemon", () => {
  it.each([
    ["{{topic}} in line 2 of template is not a variable", { field: "template", line: 2 }],
    ["{{tone}} in line 1 of system is not a variable", { field: "system", line: 1 }],
    ['"../x" is not a valid name: ...', { field: "name" }],
    ["there is already a template haiku, in /home/me/haiku.yaml", { field: "name" }],
    ["the template options.temperature must be at most 2", { field: "temperature" }],
    ['there is no profile "nope"', { field: "profile" }],
    ["the template variable a has two defaults", { field: "variables" }],
    ["the disk is full", undefined],
  ])("%j belongs to %j", (message, place) => {
    expect(placeOf(message)).toEqual(place);
  });

  it("selects its line", () => {
    const text = "one\ntwo\n\nfour";
    expect([1, 2, 3, 4].map((line) => text.slice(...lineRange(text, line)))).toEqual(["one", "two", "", "four"]);
    expect(lineRange(text, 9)).toEqual([text.length + 1, text.length + 1]);
  });
});
