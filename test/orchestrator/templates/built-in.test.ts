import { expect, it } from "vitest";
import { profiles } from "../../../src/orchestrator/catalog/profiles.ts";
import { builtInTemplates } from "../../../src/orchestrator/templates/built-in.ts";
import { fill, piecesOf } from "../../../src/orchestrator/templates/render.ts";
import { valuesOf } from "../../../src/orchestrator/templates/variables.ts";

const known = builtInTemplates();

it("there are twelve, with different names", () => {
  expect(known.map(({ name }) => name).toSorted()).toMatchInlineSnapshot(`
    [
      "changelog",
      "code-review",
      "commit-message",
      "docstring",
      "explain-code",
      "extract-json",
      "regex",
      "rewrite",
      "sql",
      "summarise",
      "translate",
      "write-tests",
    ]
  `);
});

it.each(known.map((template) => [template.name, template] as const))(
  "%s renders with sample values",
  (_name, template) => {
    const samples = Object.fromEntries(
      template.variables.filter(({ isRequired }) => isRequired).map(({ name }) => [name, `<sample {${name}}>`]),
    );
    const found = valuesOf(template, samples);
    if ("missing" in found) throw new Error("nothing is missing");
    const text = fill(piecesOf(template.template), (name) => found.values.get(name) ?? "");
    for (const sample of Object.values(samples)) expect(text).toContain(sample);
    expect(text.replaceAll(/<sample \{\w+\}>/g, "sample")).not.toMatch(/\{\w+(?::[^}]*)?\}| {2}|undefined/);
    expect(template.description).toMatch(/^[A-Z].*\.$/);
    for (const variable of template.variables) expect(variable.description, variable.name).toMatch(/\.$|\)$/);
    if (template.profile !== undefined) expect(Object.keys(profiles)).toContain(template.profile);
  },
);
