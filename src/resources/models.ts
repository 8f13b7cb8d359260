import { defineResource } from "./definition.ts";
import { snaked, snakedOnly } from "../orchestrator/util/defined.ts";
import type { ListedModel } from "../orchestrator/api/facade.ts";
import type { DatabaseEntry } from "../orchestrator/api/facade-route.ts";

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

/** A listed model as resources show it; undefined values are absent from the JSON. */
function modelData(model: ListedModel, staleSince?: string) {
  return {
    ...snakedOnly(model, ["name", "engine", "sizeBytes", "status", "isLoaded", "isPinned", "fits", "error"]),
    is_remote: model.trust === "remote",
    ...snakedOnly(model, ["family", "parameterSize", "quantization", "contextTokens", "capabilities", "profiles"]),
    ...snakedOnly(model, ["modifiedAt", "tokensPerSecond"]),
    stale_since: staleSince,
  };
}

function databaseData({ released: _released, ...entry }: DatabaseEntry) {
  return snaked(entry);
}

export const model = defineResource({
  name: "model",
  title: "Model",
  description: "One model: facts from its file and from the model database. Names are percent-encoded.",
  uri: "ollm://models/{name}",
  watch: "models",
  isTouchedBy: ({ kind }) => kind === "models",
  async read(variables, { orchestrator, caller }) {
    const {
      model: listed,
      staleSince,
      facts,
      database,
    } = await orchestrator.describeModel(caller, variables["name"] ?? "");
    return {
      ...modelData(listed, staleSince),
      context_tokens: facts.contextTokens ?? listed.contextTokens,
      ...snakedOnly(facts, ["architecture", "layerCount", "embeddingLength", "vocabularySize"]),
      ...snakedOnly(facts, ["capabilities", "digest", "system", "parameters"]),
      database: database && databaseData(database),
    };
  },
  async list({ orchestrator, caller }) {
    const list = await orchestrator.listModels(caller, { isInstalledOnly: true });
    return list.models.map(({ name }) => ({ uri: `ollm://models/${encodeURIComponent(name)}`, name }));
  },
});

export const modelDatabase = defineResource({
  name: "model-database",
  title: "Model database",
  description: "Known model families by name pattern: context window, capabilities, profiles, source.",
  uri: "ollm://models/database",
  // The database changes only with the version of the program.
  ttlMs: 300_000,
  read: async (_variables, { orchestrator, caller }) => ({
    entries: orchestrator.database(caller).map(databaseData),
  }),
});
