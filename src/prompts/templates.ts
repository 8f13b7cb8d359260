import {
  type ReadFiles,
  type Template,
  type TemplateVariable,
  missingVariables,
} from "../orchestrator/api/facade-templates.ts";
import { openVariable } from "../orchestrator/util/open-variable.ts";
import type { ListedPrompt, PromptArguments, PromptContext, PromptSource } from "./definition.ts";
import { defined } from "../orchestrator/util/defined.ts";

/** One prompt per template: its variables are the arguments. */
export const templatePrompts: PromptSource = {
  name: "templates",
  async list({ orchestrator, caller }) {
    const { templates } = await orchestrator.templates.list(caller);
    return templates.map(promptOf);
  },
  async get(name, given, { orchestrator, caller, readText }) {
    const { variables, files } = await splitFiles(name, given, { orchestrator, caller, readText });
    const outcome = await orchestrator.templates.render(caller, name, variables, files);
    if ("missing" in outcome) return { needsInput: missingVariables(outcome) };
    const { template, text, system } = outcome.rendered;
    // Prompts have no system role, so the template's system text comes first.
    const whole = system === undefined ? text : `${system}\n\n${text}`;
    return { description: template.description, messages: [{ role: "user", text: whole }] };
  },
  async valuesOf(name, argument, { orchestrator, caller }) {
    const { variables } = await orchestrator.templates.get(caller, name);
    const variable = variables.find((each) => each.name === argument);
    if (variable?.enum !== undefined) return variable.enum;
    return variable?.type === "boolean" ? ["true", "false"] : undefined;
  },
};

/** Prompt arguments are texts: several files are separated by commas or line breaks. */
const filesArgument = "files";

/** Splits a prompt's arguments into files and variables. A template's own variable `files` is a variable. */
async function splitFiles(
  name: string,
  given: PromptArguments,
  { orchestrator, caller, readText }: PromptContext,
): Promise<{ readonly variables: PromptArguments; readonly files?: ReadFiles }> {
  const { [filesArgument]: named, ...variables } = given;
  if (named === undefined) return { variables };
  const template = await orchestrator.templates.get(caller, name);
  const open = openVariable(template.variables, variables);
  // When no variable takes files, rendering rejects the argument as unknown.
  if (open === undefined || hasOwnFiles(template)) return { variables: given };
  const paths = String(named)
    .split(/[,\r\n]/)
    .map((path) => path.trim())
    .filter(Boolean);
  return paths.length === 0 ? { variables } : { variables, files: () => readText(paths) };
}

function hasOwnFiles({ variables }: Template): boolean {
  return variables.some(({ name }) => name === filesArgument);
}

function promptOf(template: Template): ListedPrompt {
  const { name, aliases, description, variables } = template;
  const fromFiles = hasOwnFiles(template) ? undefined : openVariable(variables, {});
  return {
    name,
    ...defined({ aliases }),
    description,
    arguments: [
      ...variables.map((variable) => ({
        name: variable.name,
        // Clients would require it although files can provide it.
        isRequired: variable.isRequired && variable.name !== fromFiles,
        ...describe(variable),
      })),
      ...(fromFiles === undefined
        ? []
        : [
            {
              name: filesArgument,
              description: `paths of text files, separated by commas: their text becomes ${fromFiles}`,
              isRequired: false,
            },
          ]),
    ],
  };
}

/** The description of an argument, with its allowed values and default, because clients show no others. */
function describe(variable: TemplateVariable): { readonly description?: string } {
  const parts = [
    variable.description,
    variable.enum && `one of ${variable.enum.join(", ")}`,
    variable.default === undefined || variable.default === "" ? undefined : `default: ${variable.default}`,
  ].filter((part) => part !== undefined);
  return parts.length === 0 ? {} : { description: parts.join("; ") };
}
