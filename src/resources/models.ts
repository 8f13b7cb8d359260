import { defineResource } from "./definition.ts";
import { modelData } from "./model.ts";

export const models = defineResource({
  name: "models",
  title: "Models",
  description: "All models of all configured engines.",
  uri: "ollm://models",
  watch: "models",
  isTouchedBy: ({ kind }) => kind === "models",
  async read(_variables, { orchestrator, caller }) {
    const list = await orchestrator.listModels(caller, {});
    return {
      models: list.models.map((model) =>
        modelData(model, list.stale.find(({ engine }) => engine === model.engine)?.since),
      ),
      total: list.total,
    };
  },
});
