import type { AnswerOptions } from "./sampling.ts";
import type { NeededField, NeedsInput } from "./errors.ts";
import type { CallerContext, JsonSchema, CallerProject } from "./types.ts";

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

/** The rendered text, or the missing variables. */
type RenderOutcome =
  | {
      readonly rendered: {
        readonly template: Template;
        readonly text: string;
        readonly system?: string;
        /** The text contains the given files: they filled a variable. */
        readonly hasFiles: boolean;
      };
    }
  | {
      readonly missing: readonly TemplateVariable[];
      readonly template: Template;
      /** The name of the missing variable that files would fill. */
      readonly fromFiles?: string;
    };

/** Text files for a template, read only if they are needed. */
export type ReadFiles = () => Promise<readonly { readonly path: string; readonly text: string }[]>;

export interface CreateTemplateRequest extends Pick<
  Template,
  "name" | "template" | "system" | "model" | "profile" | "options" | "format"
> {
  readonly description?: string;
  readonly variables?: readonly Partial<TemplateVariable>[];
  /** `user` (OLLM_HOME/templates) when absent. */
  readonly scope?: "user" | "project";
  readonly mayOverwrite?: boolean;
}

/** Prompt templates: built-in, the user's, and those of a trusted project. */
export interface Templates {
  list(caller: CallerContext): Promise<TemplateList>;
  /** Pipelines of the user and of a trusted project, as templates whose text is their YAML. */
  pipelines(caller: CallerContext): Promise<TemplateList>;
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

/** A tool, as far as a project can hide it. */
export interface HideableTool {
  readonly name: string;
  /** `needed`: hidden only with the user's approval. */
  readonly set?: string;
}

interface ProjectQuestion {
  /** For the user, with the texts to approve. */
  readonly message: string;
  readonly files: readonly string[];
  /** sha256 (hex) of the content in the message. */
  readonly digest: string;
}

/** Projects of callers. `caller.project` is the current one. */
export interface Projects {
  /** Inspects the folder. Throws `InvalidRequest` if it is not a folder. */
  detect(caller: CallerContext, folder: string): Promise<CallerProject>;
  /** Writes `.ollm/project.yaml` for the detected kind and trusts it. Throws `InvalidRequest` if the file exists. */
  init(
    caller: CallerContext,
    folder: string,
    profile?: string,
  ): Promise<{ readonly file: string; readonly project: CallerProject }>;
  /** What the user is to approve now; undefined if nothing of the caller's project waits for approval. */
  trustQuestion(caller: CallerContext): Promise<ProjectQuestion | undefined>;
  /**
   * Approves the files of the caller's project persistently. Throws `InvalidRequest` if they no longer match `digest`, so
   * that only content the user saw is approved.
   */
  trust(caller: CallerContext, digest: string): Promise<{ readonly folder: string; readonly files: readonly string[] }>;
  /**
   * Sets the caller's project folder, or a kind or profile whose routing replaces that of the file, until the caller
   * disconnects; "none" uses neither. `tools` of the file always apply. Throws `InvalidRequest`.
   */
  use(
    caller: CallerContext,
    choice: { readonly profile?: string; readonly folder?: string },
  ): Promise<CallerProject | undefined>;
  /**
   * The project in `folder` (absolute, resolved) for a caller; the same object until something changes. With `detects`
   * false the kind is not detected, so that only a project file has settings.
   */
  projectAt(callerId: string, folder: string | undefined, detects: boolean): Promise<CallerProject | undefined>;
  /** Call it when a caller disconnects: drops its choice of `use`. */
  forgetCaller(callerId: string): void;
}

/** The name of the answer contains the hash, so that it applies only to the content the user saw. */
const answerName = (digest: string): string => `approve_${digest.slice(0, 16)}`;

/** Asks the user to approve the settings and templates of the project in `folder`. */
export function projectApproval({ message, digest }: ProjectQuestion, folder: string | undefined): NeedsInput {
  const field = {
    type: "boolean",
    title: "Trust this project",
    description: "Yes, I trust this project",
    isRequired: true,
  } as const;
  return {
    message,
    fields: { [answerName(digest)]: field },
    userOnly: { step: "approveProject", ...(folder === undefined ? {} : { folder }) },
  };
}

/** The answer for the content with this hash; undefined if there is none. */
export function approvalIn(answers: Readonly<Record<string, unknown>>, digest: string): boolean | undefined {
  const name = answerName(digest);
  return Object.hasOwn(answers, name) ? answers[name] === true : undefined;
}
