import * as z from "zod";
import type { Template } from "../orchestrator/api/facade-templates.ts";
import { defineTool } from "./definition.ts";
import { defined } from "../orchestrator/util/defined.ts";

export const listTemplates = defineTool({
  name: "list_templates",
  title: "List prompt templates",
  description: "List prompt templates with their variables, for route_and_generate.",
  effect: "read",
  input: z.strictObject({ query: z.string().optional() }),
  output: z.object({
    templates: z.array(
      z.object({
        name: z.string(),
        description: z.string(),
        variables: z.array(z.string()).optional().describe('"tone?" is optional.'),
        source: z.string().optional(),
        hides: z.string().optional().describe("Source of the template of the same name that it hides."),
      }),
    ),
    problems: z.array(z.string()).optional(),
  }),
  async run({ query = "" }, { orchestrator, caller }) {
    const { templates, problems } = await orchestrator.templates.list(caller);
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = templates.filter(({ name, description }) => {
      const text = `${name} ${description}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    return {
      data: defined({ templates: matching.map(entryOf), problems: problems.length > 0 ? [...problems] : undefined }),
    };
  },
  render({ templates, problems = [] }) {
    const lines = templates.map(({ name, description, variables, source, hides }) => {
      const holes = variables === undefined ? "" : ` (${variables.join(", ")})`;
      const hidden = hides === undefined ? "" : `, hides the ${hides} one`;
      const origin = source === undefined ? "" : ` [${source}${hidden}]`;
      return `${name}${holes}: ${description}${origin}`;
    });
    return [...(lines.length > 0 ? lines : ["No template matches."]), ...problems].join("\n");
  },
});

function entryOf({ name, description, variables, source, hides }: Template) {
  return defined({
    name,
    description,
    variables:
      variables.length > 0 ? variables.map((each) => (each.isRequired ? each.name : `${each.name}?`)) : undefined,
    source: source === "built-in" ? undefined : source,
    hides,
  });
}
