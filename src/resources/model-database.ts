import { defineResource } from "./definition.ts";
import { databaseData } from "./model.ts";

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
