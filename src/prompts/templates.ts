import type { ReadFiles, Template, TemplateVariable } from "../orchestrator/facade-templates.ts";
import { missingVariables } from "../orchestrator/template-question.ts";
import { openVariable } from "../orchestrator/text/open-variable.ts";
import type { ListedPrompt, PromptArguments, PromptContext, PromptSource } from "./definition.ts";

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
    // Prompts have no system role: what a template says there goes first.
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

/** Arguments of prompts are texts: several files are one, with commas or line breaks between. */
const filesArgument = "files";

/** Files and variables of a prompt's arguments. A template's own variable `files` is one. */
async function splitFiles(
  name: string,
  given: PromptArguments,
  { orchestrator, caller, readText }: PromptContext,
): Promise<{ readonly variables: PromptArguments; readonly files?: ReadFiles }> {
  const { [filesArgument]: named, ...variables } = given;
  if (named === undefined) return { variables };
  const template = await orchestrator.templates.get(caller, name);
  const open = openVariable(template.variables, variables);
  // Refused with the variables that it has, where nothing takes files.
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
  const { name, description, variables } = template;
  const fromFiles = hasOwnFiles(template) ? undefined : openVariable(variables, {});
  return {
    name,
    description,
    arguments: [
      ...variables.map((variable) => ({
        name: variable.name,
        // Clients would insist on what files can give.
        isRequired: variable.isRequired && variable.name !== fromFiles,
        ...describe(variable),
      })),
      ...(fromFiles === undefined
        ? []
        : [
            {
              name: filesArgument,
              description: `paths of text files, commas between: their text becomes ${fromFiles}`,
              isRequired: false,
            },
          ]),
    ],
  };
}

/** Clients show one line per argument and no enum. */
function describe(variable: TemplateVariable): { readonly description?: string } {
  const parts = [
    variable.description,
    variable.enum && `one of ${variable.enum.join(", ")}`,
    variable.default === undefined || variable.default === "" ? undefined : `default: ${variable.default}`,
  ].filter((part) => part !== undefined);
  return parts.length === 0 ? {} : { description: parts.join("; ") };
}
