import { defineResource } from "./definition.ts";

export const settings = defineResource({
  name: "settings",
  title: "Settings",
  description: "Every setting: value, where it comes from, meaning, allowed values and default. Secrets are masked.",
  uri: "ollm://settings",
  isTouchedBy: ({ kind }) => kind === "tools",
  async read(_variables, { orchestrator, caller }) {
    const { settings: access } = orchestrator;
    const shown = await access.show(caller);
    const rows = shown.map(async ({ path, value, source, scope }) => {
      const { kind, description, allowed, choices, default: fallback, variable } = access.describe(path);
      return {
        path,
        value,
        source,
        scope,
        kind,
        description,
        allowed,
        choices,
        default: fallback,
        variable,
        is_guarded: (await access.whyAsk(caller, path)) !== undefined,
      };
    });
    return {
      settings: await Promise.all(rows),
      problem: access.problem(),
    };
  },
});
