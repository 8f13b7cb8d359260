import type { CallerContext, JsonSchema } from "./types.ts";

export interface TemplateVariable {
  readonly name: string;
  readonly isRequired: boolean;
  readonly default?: string;
  readonly description?: string;
  readonly enum?: readonly string[];
  readonly type: "string" | "number" | "boolean";
}

/** A prompt with holes. */
export interface Template {
  readonly name: string;
  readonly description: string;
  readonly template: string;
  /** Declared ones in their order, then those that only stand in the text. */
  readonly variables: readonly TemplateVariable[];
  readonly system?: string;
  readonly model?: string;
  readonly profile?: string;
  readonly options?: { readonly temperature?: number; readonly topP?: number; readonly maxTokens?: number };
  readonly format?: "json" | JsonSchema;
  readonly source: "built-in" | "user" | "project";
  /** Its file; built-in ones have none. */
  readonly file?: string;
  /** The template of the same name that it hides: `user`, `built-in`. */
  readonly hides?: Template["source"];
}

/** One that lies in a file. */
export interface SavedTemplate extends Template {
  readonly file: string;
}

export interface TemplateList {
  readonly templates: readonly Template[];
  /** Files that are no templates, a sentence each with file, line and what to do; untrusted folders too. */
  readonly problems: readonly string[];
}

export interface RenderedTemplate {
  readonly template: Template;
  readonly text: string;
  readonly system?: string;
  /** The files that came along are in the text: they filled a variable. */
  readonly hasFiles: boolean;
}

/** What is missing for a template, or the rendered text. */
export type RenderOutcome =
  | { readonly rendered: RenderedTemplate }
  | {
      readonly missing: readonly TemplateVariable[];
      readonly template: Template;
      /** The name of the missing one that files would fill. */
      readonly fromFiles?: string;
    };

/** Text files for a template, read once it is certain that they are needed. */
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

/** Prompts with variables: built-in, the user's, and the project's where the user trusts it. */
export interface Templates {
  list(caller: CallerContext): Promise<TemplateList>;
  /** Throws `UnknownTemplate` with the nearest name. */
  get(caller: CallerContext, name: string): Promise<Template>;
  /**
   * `files` fill the variable `text`, else the only required one that has no value; where there is none they are not
   * read. Throws `UnknownTemplate`; `InvalidRequest` for variables it doesn't have and values that aren't allowed.
   */
  render(
    caller: CallerContext,
    name: string,
    variables: Readonly<Record<string, string | number | boolean>>,
    files?: ReadFiles,
  ): Promise<RenderOutcome>;
  /** Throws `InvalidRequest` (not valid, or there already). */
  create(caller: CallerContext, request: CreateTemplateRequest): Promise<SavedTemplate>;
}
