import { UnknownTemplate } from "../../src/orchestrator/api/errors.ts";
import type { Template, Templates } from "../../src/orchestrator/api/facade-templates.ts";

/** A template with a variable of each kind: required, one of a few values, a number with a default. */
export const greet: Template = {
  name: "greet",
  description: "Greets a person.",
  template: "Greet {who}.",
  variables: [
    { name: "who", isRequired: true, type: "string", description: "The person to greet." },
    { name: "tone", isRequired: true, type: "string", enum: ["curt", "warm", "calm"] },
    { name: "words", isRequired: false, type: "number", default: "20" },
    { name: "profile", isRequired: false, type: "string", default: "" },
    { name: "model", isRequired: false, type: "string", default: "" },
    { name: "key", isRequired: false, type: "string", default: "" },
  ],
  system: "You are polite.",
  source: "built-in",
};

/** Templates (by default `greet`), each of which renders as the JSON of its variables. */
export function fakeTemplates(templates: readonly Template[] = [greet]): Templates {
  const get = async (_caller: unknown, name: string): Promise<Template> => {
    const found = templates.find((template) => template.name === name);
    if (found === undefined) throw new UnknownTemplate(`no template ${name}`);
    return found;
  };
  return {
    list: async () => ({ templates, problems: [] }),
    pipelines: async () => ({ templates: [], problems: [] }),
    get,
    async render(caller, name, variables) {
      const template = await get(caller, name);
      const missing = template.variables.filter((each) => each.isRequired && variables[each.name] === undefined);
      if (missing.length > 0) return { missing, template };
      const text = JSON.stringify(variables);
      return {
        rendered: {
          template,
          text,
          hasFiles: false,
          ...(template.system !== undefined && { system: template.system }),
        },
      };
    },
    create: () => Promise.reject(new Error("the fake creates nothing")),
    remove: () => Promise.reject(new Error("the fake deletes nothing")),
  };
}
