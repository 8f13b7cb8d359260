import type { AnswerOptions } from "./sampling.ts";
import type { NeededField, NeedsInput } from "./errors.ts";
import type { CallerContext, JsonSchema } from "./types.ts";

export interface TemplateVariable {
  readonly name: string;
  readonly isRequired: boolean;
  readonly default?: string;
  readonly description?: string;
  readonly enum?: readonly string[];
  readonly type: "string" | "number" | "boolean";
}

/** A prompt with variables. */
export interface Template {
  readonly name: string;
  /** Other names by which it is found; they are not listed. */
  readonly aliases?: readonly string[];
  readonly description: string;
  readonly template: string;
  /** Declared variables in order, then those that are only in the text. */
  readonly variables: readonly TemplateVariable[];
  readonly system?: string;
  readonly model?: string;
  readonly profile?: string;
  readonly options?: AnswerOptions;
  readonly format?: "json" | JsonSchema;
  readonly source: "built-in" | "user" | "project";
  /** Absent for built-in templates. */
  readonly file?: string;
  /** The source of the template of the same name that it hides. */
  readonly hides?: Template["source"];
}

/** A template in a file. */
export interface SavedTemplate extends Template {
  readonly file: string;
}

export interface TemplateList {
  readonly templates: readonly Template[];
  /** Invalid files and untrusted folders, one sentence each with file and line. */
  readonly problems: readonly string[];
}

interface RenderedTemplate {
  readonly template: Template;
  readonly text: string;
  readonly system?: string;
  /** The text contains the given files: they filled a variable. */
  readonly hasFiles: boolean;
}

/** The rendered text, or the missing variables. */
type RenderOutcome =
  | { readonly rendered: RenderedTemplate }
  | {
      readonly missing: readonly TemplateVariable[];
      readonly template: Template;
      /** The name of the missing variable that files would fill. */
      readonly fromFiles?: string;
    };

/** Text files for a template, read only if they are needed. */
export type ReadFiles = () => Promise<readonly { readonly path: string; readonly text: string }[]>;

export interface CreateTemplateRequest {
  readonly name: string;
  readonly description?: string;
  readonly template: string;
  readonly variables?: readonly Partial<TemplateVariable>[];
  readonly system?: string;
  readonly model?: string;
  readonly profile?: string;
  readonly options?: Template["options"];
  readonly format?: Template["format"];
  /** `user` (OLLM_HOME/templates) when absent. */
  readonly scope?: "user" | "project";
  readonly mayOverwrite?: boolean;
}

/** Prompt templates: built-in, the user's, and those of a trusted project. */
export interface Templates {
  list(caller: CallerContext): Promise<TemplateList>;
  /** Throws `UnknownTemplate` with the nearest name. */
  get(caller: CallerContext, name: string): Promise<Template>;
  /**
   * `files` fill the variable `text`, else the only required one without a value; if there is none they are not read.
   * Throws `UnknownTemplate`; `InvalidRequest` for unknown variables and invalid values.
   */
  render(
    caller: CallerContext,
    name: string,
    variables: Readonly<Record<string, string | number | boolean>>,
    files?: ReadFiles,
  ): Promise<RenderOutcome>;
  /** Throws `InvalidRequest` (invalid, or it exists). */
  create(caller: CallerContext, request: CreateTemplateRequest): Promise<SavedTemplate>;
  /**
   * Deletes the file of a template of the user and returns the template. Throws `UnknownTemplate`; `InvalidRequest` for a
   * built-in one and for one of a project.
   */
  remove(caller: CallerContext, name: string): Promise<SavedTemplate>;
}

/** Asks for the missing variables of a template; `into` is the input that contains the variables, if any. */
export function missingVariables(
  { missing, template, fromFiles }: Extract<RenderOutcome, { readonly missing: unknown }>,
  into?: string,
): NeedsInput {
  const names = missing.map(({ name }) => name).join(", ");
  return {
    message: `Template ${template.name} needs ${names}.`,
    fields: Object.fromEntries(
      missing.map((variable) => [variable.name, fieldOf(variable, into, variable.name === fromFiles)]),
    ),
  };
}

function fieldOf(variable: TemplateVariable, into: string | undefined, isFromFiles: boolean): NeededField {
  const { type, name, description, enum: values, default: fallback } = variable;
  return {
    type,
    description: description ?? name,
    isRequired: true,
    ...(values === undefined ? {} : { enum: values }),
    ...(fallback !== undefined && fallback !== "" && { default: typed(type, fallback) }),
    ...(into === undefined ? {} : { into }),
    ...(isFromFiles && { isFromFiles }),
  };
}

/** The default value for the form; required variables may have one, too. */
function typed(type: TemplateVariable["type"], text: string): string | number | boolean {
  if (type === "number") return Number(text);
  return type === "boolean" ? text === "true" : text;
}
