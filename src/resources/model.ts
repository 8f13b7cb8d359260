import { defineResource } from "./definition.ts";
import { databaseData, modelData } from "./model-data.ts";

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
      architecture: facts.architecture,
      context_tokens: facts.contextTokens ?? listed.contextTokens,
      layer_count: facts.layerCount,
      embedding_length: facts.embeddingLength,
      vocabulary_size: facts.vocabularySize,
      capabilities: facts.capabilities,
      digest: facts.digest,
      system: facts.system,
      parameters: facts.parameters,
      database: database && databaseData(database),
    };
  },
  async list({ orchestrator, caller }) {
    const list = await orchestrator.listModels(caller, { isInstalledOnly: true });
    return list.models.map(({ name }) => ({ uri: `ollm://models/${encodeURIComponent(name)}`, name }));
  },
});
