import type { Template } from "../facade-templates.ts";
import { templateOf, type TemplateFile } from "./parse-file.ts";
import { codeTemplates } from "./built-in-code.ts";
import { textTemplates } from "./built-in-text.ts";

/** Those that come with the program; a template of the user's or the project's of the same name hides one. */
export function builtInTemplates(): readonly Template[] {
  return [...codeTemplates, ...textTemplates].map(compiled);
}

/** Throws for one that its user would be told is wrong: a test reads them all. */
function compiled(file: TemplateFile): Template {
  const read = templateOf(file, "built-in");
  if (!("template" in read)) throw new Error(`built-in template ${file.name}: ${read.problem}`);
  return { ...read.template, source: "built-in" };
}
