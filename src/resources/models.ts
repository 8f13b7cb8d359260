import { defineResource } from "./definition.ts";
import { snaked, snakedOnly } from "../orchestrator/util/values.ts";
import type { Change, ListedModel } from "../orchestrator/api/facade.ts";
import type { Eval } from "../orchestrator/api/facade-compare.ts";
import type { DatabaseEntry } from "../orchestrator/api/facade-route.ts";

const models = defineResource({
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

const model = defineResource({
  name: "model",
  title: "Model",
  description: "One model: facts from its file and from the model database. Names are percent-encoded.",
  uri: "ollm://models/{name}",
  watch: "models",
  isTouchedBy: ({ kind }) => kind === "models",
  async read(variables, { orchestrator, caller }) {
    const { model: listed, ...found } = await orchestrator.describeModel(caller, variables["name"] ?? "");
    const { staleSince, facts, database } = found;
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

const modelDatabase = defineResource({
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

/** Characters of each prompt; the comparison has the whole prompt. */
const shownCharacters = 200;

const comparisons = defineResource({
  name: "comparisons",
  title: "Comparisons",
  description: "Comparisons of models, newest first: prompt, models, winner.",
  uri: "ollm://comparisons",
  read: async (_variables, { orchestrator, caller }) => ({
    comparisons: (await orchestrator.comparisons.list(caller)).map((each) => ({
      ...snakedOnly(each, ["id", "createdAt", "task", "winner"]),
      prompt: each.prompt.slice(0, shownCharacters),
      models: each.results.map((result) => result.model),
    })),
  }),
});

const comparison = defineResource({
  name: "comparison",
  title: "Comparison",
  description: "Answers of several models to one prompt, with figures, order of execution, judgement and winner.",
  uri: "ollm://comparisons/{id}",
  async read(variables, { orchestrator, caller }) {
    const found = await orchestrator.comparisons.get(caller, variables["id"] ?? "");
    return {
      ...snaked(found),
      results: found.results.map(({ engine, text, ...result }) => ({
        ...snaked(result),
        engine: engine === "" ? undefined : engine,
        text: result.error === undefined ? text : undefined,
      })),
    };
  },
  list: async ({ orchestrator, caller }) =>
    (await orchestrator.comparisons.list(caller)).map(({ id }) => ({ uri: `ollm://comparisons/${id}`, name: id })),
});

const isTouchedBy = (change: Change): boolean => change.kind === "job" && change.id.startsWith("eval-");

const evals = defineResource({
  name: "evals",
  title: "Evals",
  description: "Sets of cases that models were asked, newest first: models, how many answers there are.",
  uri: "ollm://evals",
  isTouchedBy,
  read: async (_variables, { orchestrator, caller }) => ({
    evals: (await orchestrator.comparisons.evals(caller)).map(headData),
  }),
});

const evalEntry = defineResource({
  name: "eval",
  title: "Eval",
  description:
    "How models did on a set of cases: by task quality, time, memory, cost; which is better; what was missed.",
  uri: "ollm://evals/{id}",
  isTouchedBy,
  async read(variables, { orchestrator, caller }) {
    const found = await orchestrator.comparisons.getEval(caller, variables["id"] ?? "");
    return {
      ...headData(found),
      rows: found.rows.map(snaked),
      verdicts: found.verdicts,
      misses: found.misses,
    };
  },
  list: async ({ orchestrator, caller }) =>
    (await orchestrator.comparisons.evals(caller)).map(({ id }) => ({ uri: `ollm://evals/${id}`, name: id })),
});

function headData({ rows: _rows, verdicts: _verdicts, misses: _misses, ...head }: Eval) {
  return { ...snaked(head), answers: head.cases * head.models.length };
}

/** Models, and what was found out about them. */
export const modelResources = [models, modelDatabase, model, comparisons, comparison, evals, evalEntry] as const;
