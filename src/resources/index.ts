import { comparison, comparisons, evalEntry, evals } from "./comparison.ts";
import { decisions, job, jobs, metrics, ramStatus, results } from "./status.ts";
import { type JsonOf, type ResourceDefinition, defineResource } from "./definition.ts";
import { memories, memoryEntry } from "./memories.ts";
import { modelDatabase, model, models } from "./models.ts";
import { profile, profiles, settings, template } from "./settings.ts";

/** A build's page never changes: a host may keep it for an hour. */
const ttlMs = 3_600_000;

export const compareView = defineResource({
  name: "compare-view",
  title: "Comparison",
  description: "Answers side by side, with a button that picks the winner. Shown by hosts of MCP Apps.",
  uri: "ui://ollm/compare",
  isView: true,
  ttlMs,
  read: (_variables, { readPage }) => readPage("compare-view.html"),
});

export const statusView = defineResource({
  name: "status-view",
  title: "Status",
  description: "Memory, models in it, queue and engines. Shown by hosts of MCP Apps.",
  uri: "ui://ollm/status",
  isView: true,
  ttlMs,
  read: (_variables, { readPage }) => readPage("status-view.html"),
});

const definitions = [
  ramStatus,
  decisions,
  metrics,
  models,
  modelDatabase,
  profiles,
  memories,
  jobs,
  comparisons,
  evals,
  settings,
  compareView,
  statusView,
  model,
  memoryEntry,
  template,
  profile,
  job,
  results,
  comparison,
  evalEntry,
] as const;

/** Every resource, in the order of `resources/list`; exact URIs before templates. */
export const resources: readonly ResourceDefinition[] = definitions;

/** The data of each resource, by its URI or template. */
export type ResourceData = {
  readonly [Resource in (typeof definitions)[number] as Resource["uri"]]: JsonOf<Awaited<ReturnType<Resource["read"]>>>;
};
