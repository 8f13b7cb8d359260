import { expect, it } from "vitest";
import { openVariable } from "../../../src/orchestrator/util/placeholders.ts";

type OpenVariable = Parameters<typeof openVariable>[0][number];

const required = (name: string, more: Partial<OpenVariable> = {}): OpenVariable => ({
  name,
  type: "string",
  isRequired: true,
  ...more,
});
const optional = (name: string): OpenVariable => required(name, { isRequired: false });

it.each<[string, readonly OpenVariable[], Record<string, unknown>, string | undefined]>([
  ["text, even with other required ones", [required("language"), required("text")], {}, "text"],
  ["text, even if it is optional", [required("language"), optional("text")], {}, "text"],
  ["the only required one", [required("commits"), optional("version")], {}, "commits"],
  ["the only required one without a value", [required("a"), required("b")], { a: "x" }, "b"],
  ["the other one, if text has a value", [required("text"), required("fields")], { text: "x" }, "fields"],
  ["none of several", [required("a"), required("b")], {}, undefined],
  ["none, where all have their values", [required("text")], { text: "" }, undefined],
  ["no optional one but text", [optional("tone")], {}, undefined],
  ["no number", [required("count", { type: "number" })], {}, undefined],
  ["none of a few words", [required("tone", { enum: ["warm", "curt"] })], {}, undefined],
  ["one named like a method of Object", [required("toString")], {}, "toString"],
])("a whole text goes into %s", (_, variables, given, expected) => {
  expect(openVariable(variables, given)).toBe(expected);
});
