import type { Template } from "../api/facade-templates.ts";
import { templateOf, type TemplateFile } from "./parse-file.ts";
import { codeTemplates } from "./built-in-code.ts";
import { textTemplates } from "./built-in-text.ts";

/** Names that templates had, or that are spelt differently. */
const aliases: Readonly<Record<string, readonly string[]>> = {
  "review-diff": ["code-review"],
  summary: ["summarise", "summarize"],
};

/** The templates that come with ollm. A template of the user or the project hides one of the same name. */
export function builtInTemplates(): readonly Template[] {
  return [...codeTemplates, ...textTemplates].map(compiled);
}

/** Throws for an invalid template; a test compiles them all. */
function compiled(file: TemplateFile): Template {
  const read = templateOf(file, "built-in");
  if (!("template" in read)) throw new Error(`built-in template ${file.name}: ${read.problem}`);
  const others = aliases[read.template.name];
  return { ...read.template, source: "built-in", ...(others !== undefined && { aliases: others }) };
}
