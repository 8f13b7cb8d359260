import { defineResource } from "./definition.ts";

export const template = defineResource({
  name: "template",
  title: "Prompt template",
  description: "One prompt template: text, variables, and settings for its answers.",
  uri: "ollm://templates/{name}",
  isTouchedBy: ({ kind }) => kind === "templates",
  async read(variables, { orchestrator, caller }) {
    const found = await orchestrator.templates.get(caller, variables["name"] ?? "");
    return {
      name: found.name,
      description: found.description,
      template: found.template,
      variables: found.variables.map(({ isRequired, ...variable }) => ({ ...variable, required: isRequired })),
      system: found.system,
      model: found.model,
      profile: found.profile,
      options: found.options,
      format: found.format,
      source: found.source,
      file: found.file,
      hides: found.hides,
    };
  },
  async list({ orchestrator, caller }) {
    const { templates } = await orchestrator.templates.list(caller);
    return templates.map(({ name }) => ({ uri: `ollm://templates/${encodeURIComponent(name)}`, name }));
  },
});
