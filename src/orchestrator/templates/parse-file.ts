import { samplingShape } from "../api/sampling.ts";
import * as z from "zod";
import type { Template } from "../api/facade-templates.ts";
import { nameProblem } from "../util/file-name.ts";
import { meantBy } from "../util/nearest.ts";
import { maxForeignTokens, parseYaml } from "../util/parse-yaml.ts";
import builtIn from "./built-in.json" with { type: "json" };
import { declaredVariable, piecesOf, variablesOf } from "./render.ts";
import { defined } from "../util/values.ts";

/** Far more than a template needs. */
export const maxTemplateBytes = 256 * 1024;

/** The content of a template's file. */
const templateFileSchema = z.strictObject({
  name: z.string().optional(),
  description: z.string().optional(),
  template: z.string().min(1, "must not be empty"),
  variables: z.array(declaredVariable).optional(),
  system: z.string().optional(),
  model: z.string().min(1).optional(),
  profile: z.string().min(1).optional(),
  options: z.strictObject({ ...samplingShape, maxTokens: z.number().int().min(1).optional() }).optional(),
  format: z.union([z.literal("json"), z.record(z.string(), z.unknown())]).optional(),
});

export type TemplateFile = z.input<typeof templateFileSchema>;

/** A template as written in its file, without its source. */
export type TemplateText = Omit<Template, "source" | "file" | "hides" | "aliases">;

/** What is wrong: a path into the file, and the line within that text, if any. */
interface Problem {
  readonly problem: string;
  readonly path: readonly PropertyKey[];
  readonly textLine?: number;
}

/** The template described by plain data, or the first problem. `fallbackName` is the file's name. */
function templateOf(data: unknown, fallbackName: string): { readonly template: TemplateText } | Problem {
  if (typeof data !== "object" || data === null || Array.isArray(data)) {
    return { problem: 'contains no template: expected lines such as "template: Summarise {text}"', path: [] };
  }
  const parsed = templateFileSchema.safeParse(data);
  if (!parsed.success) return problemOfIssue(parsed.error.issues[0], data);
  const {
    name = fallbackName,
    description = "",
    template: text,
    system,
    model,
    profile,
    options,
    format,
  } = parsed.data;
  const wrongName = nameProblem(name);
  if (wrongName !== undefined) return { problem: `name ${JSON.stringify(name)} ${wrongName}`, path: ["name"] };
  if (model !== undefined && profile !== undefined) {
    return { problem: "has both model and profile: keep one", path: ["profile"] };
  }
  const pieces = { template: piecesOf(text), system: piecesOf(system ?? "") };
  const found = variablesOf(parsed.data.variables ?? [], pieces);
  if ("problem" in found) {
    const { at, problem } = found;
    if ("index" in at) return { problem, path: ["variables", at.index] };
    return { problem, path: [at.part], textLine: at.line };
  }
  const kept = { system, model, profile, options, format };
  return {
    template: {
      name,
      description,
      template: text,
      variables: found.variables,
      ...(JSON.parse(JSON.stringify(kept)) as Omit<TemplateText, "name" | "description" | "template" | "variables">),
    },
  };
}

/** Names that templates had, or that are spelt differently. */
const aliases: Readonly<Record<string, readonly string[]>> = {
  "review-diff": ["code-review"],
  summary: ["summarise", "summarize"],
};

/**
 * The templates that come with ollm, written for small models: one task each, few choices, and the exact form of the
 * answer last. Answers are limited, because small models repeat themselves, unless their length depends on the input. A
 * template of the user or the project hides one of the same name. Throws for an invalid one; a test compiles them all.
 */
export function builtInTemplates(): readonly Template[] {
  return builtIn.map((file) => {
    const read = templateOf({ ...file, template: file.template.join("\n") }, "built-in");
    if (!("template" in read)) throw new Error(`built-in template ${file.name}: ${read.problem}`);
    return { ...read.template, source: "built-in", ...defined({ aliases: aliases[file.name] }) };
  });
}

/** The template of a file's text, or what is wrong: a text that follows the file's name, and a line from 1. */
export async function parseTemplate(
  text: string,
  fallbackName: string,
): Promise<{ readonly template: TemplateText } | { readonly problem: string; readonly line?: number }> {
  if (text.trim() === "") return { problem: "is empty: add a template or remove the file" };
  const yaml = await parseYaml(text, maxTemplateBytes, maxForeignTokens);
  if ("problem" in yaml) return yaml;
  const read = templateOf(yaml.value, fallbackName);
  if ("template" in read) return read;
  const { isNode, isScalar, Scalar } = await import("yaml");
  const { problem, path, textLine } = read;
  const node =
    path.length === 0 ? undefined : (yaml.document.getIn(path, true) ?? yaml.document.getIn(path.slice(0, -1), true));
  if (!isNode(node) || !node.range) return { problem };
  const { line } = yaml.lines.linePos(node.range[0]);
  // In a literal block, the text starts in the line after the "|".
  const isLiteral = isScalar(node) && node.type === Scalar.BLOCK_LITERAL;
  return { problem, line: isLiteral && textLine !== undefined ? line + textLine : line };
}

/** A pipeline as a template whose text is its YAML, which is read where its steps are known. */
export function pipelineText(name: string, text: string): { readonly template: TemplateText } {
  return { template: { name, description: "", template: text, variables: [] } };
}

export function parsePipeline(text: string, name: string): ReturnType<typeof parseTemplate> {
  const problem = nameProblem(name);
  const wrong = problem === undefined ? undefined : { problem: `name ${JSON.stringify(name)} ${problem}` };
  return Promise.resolve(wrong ?? pipelineText(name, text));
}

function problemOfIssue(issue: z.core.$ZodIssue | undefined, data: object): Problem {
  if (issue === undefined) return { problem: "is not a template", path: [] };
  const field = issue.path.map(String).join(".");
  if (issue.code === "unrecognized_keys") {
    const [key = ""] = issue.keys;
    const known = fieldsAt(issue.path);
    const remedy = meantBy(key, known, `, allowed: ${known.join(", ")}`, ", ");
    return {
      problem: `unknown field ${[field, key].filter(Boolean).join(".")}${remedy}`,
      path: [...issue.path, key],
    };
  }
  const value = issue.path.reduce<unknown>(
    (at, key) => (typeof at === "object" && at !== null ? (at as Record<PropertyKey, unknown>)[key] : undefined),
    data,
  );
  if (value === undefined) return { problem: `${field} is missing`, path: issue.path };
  return { problem: `${field} ${expectation(issue)}, got ${shown(value)}`, path: issue.path };
}

function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return `must be ${/^[aeio]/.test(issue.expected) ? "an" : "a"} ${issue.expected}`;
    case "invalid_value":
      return `must be one of ${issue.values.map(String).join(", ")}`;
    case "invalid_union":
      return issue.path.at(-1) === "format"
        ? "must be json or a JSON Schema"
        : "must be text, a number or true or false";
    case "too_small":
      return issue.origin === "string" || issue.origin === "array"
        ? "must not be empty"
        : `must be ${issue.inclusive === false ? "more than" : "at least"} ${issue.minimum}`;
    case "too_big":
      return `must be at most ${issue.maximum}`;
    default:
      return issue.message;
  }
}

function fieldsAt(path: readonly PropertyKey[]): readonly string[] {
  if (path[0] === "variables") return Object.keys(declaredVariable.shape);
  if (path[0] === "options") return Object.keys(templateFileSchema.shape.options.unwrap().shape);
  return Object.keys(templateFileSchema.shape);
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
