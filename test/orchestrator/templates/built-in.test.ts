import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { profileNames } from "../../../src/orchestrator/config/profiles.ts";
import { builtInTemplates } from "../../../src/orchestrator/templates/parse-file.ts";
import { fill, piecesOf, valuesOf } from "../../../src/orchestrator/templates/render.ts";
import { openVariable } from "../../../src/orchestrator/util/placeholders.ts";

const known = builtInTemplates();

it("there are seventeen, with different names", () => {
  expect(known.map(({ name }) => name).toSorted()).toMatchInlineSnapshot(`
    [
      "changelog",
      "classify",
      "commit-message",
      "docstring",
      "explain-code",
      "explain-error",
      "extract-json",
      "pull-request",
      "regex",
      "review-diff",
      "rewrite",
      "sql",
      "summary",
      "test-stub",
      "transcription",
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
    if (template.profile !== undefined) expect(profileNames()).toContain(template.profile);
  },
);

it.each([
  "commit-message",
  "pull-request",
  "review-diff",
  "explain-error",
  "changelog",
  "docstring",
  "test-stub",
  "summary",
])("files alone fill %s", (name) => {
  const { variables } = known.find((template) => template.name === name) ?? { variables: [] };
  const open = openVariable(variables, {});
  expect(open).toBeDefined();
  expect(variables.filter((variable) => variable.isRequired).map((variable) => variable.name)).toEqual([open]);
});

it("docs/templates.md lists all", async () => {
  const page = await readFile(new URL("../../../docs/templates.md", import.meta.url), "utf8");
  const rows = page.split("\n").filter((line) => /^\| `[a-z-]+` +\| .*\| `\w+\??`/.test(line));
  expect(rows.map((row) => row.replaceAll(/ +/g, " "))).toEqual(
    known
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
      .map(({ name, description, variables }) => {
        const holes = variables.map((each) => `\`${each.name}${each.isRequired ? "" : "?"}\``);
        return `| \`${name}\` | ${description.replace(/\.$/, "")} | ${holes.join(", ")} |`;
      }),
  );
});
