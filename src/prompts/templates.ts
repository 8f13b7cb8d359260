import type { Template, TemplateVariable } from "../orchestrator/facade-templates.ts";
import { missingVariables } from "../orchestrator/template-question.ts";
import type { ListedPrompt, PromptSource } from "./definition.ts";

/** One prompt per template: its variables are the arguments. */
export const templatePrompts: PromptSource = {
  name: "templates",
  async list({ orchestrator, caller }) {
    const { templates } = await orchestrator.templates.list(caller);
    return templates.map(promptOf);
  },
  async get(name, given, { orchestrator, caller }) {
    const outcome = await orchestrator.templates.render(caller, name, given);
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

function promptOf({ name, description, variables }: Template): ListedPrompt {
  return {
    name,
    description,
    arguments: variables.map((variable) => ({
      name: variable.name,
      isRequired: variable.isRequired,
      ...describe(variable),
    })),
  };
}

/** Hosts show one line per argument and no enum. */
function describe(variable: TemplateVariable): { readonly description?: string } {
  const parts = [
    variable.description,
    variable.enum && `one of ${variable.enum.join(", ")}`,
    variable.default === undefined || variable.default === "" ? undefined : `default: ${variable.default}`,
  ].filter((part) => part !== undefined);
  return parts.length === 0 ? {} : { description: parts.join("; ") };
}
