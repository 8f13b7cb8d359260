import { comparison, comparisons } from "./comparison.ts";
import { decisions, ramStatus } from "./status.ts";
import type { JsonOf, ResourceDefinition } from "./definition.ts";
import { evalEntry, evals } from "./evals.ts";
import { job, jobs } from "./job.ts";
import { memories, memoryEntry } from "./memories.ts";
import { metrics } from "./metrics.ts";
import { modelDatabase, model, models } from "./models.ts";
import { profile, profiles } from "./profiles.ts";
import { settings } from "./settings.ts";
import { template } from "./template.ts";
import { compareView, statusView } from "./views.ts";

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
  comparison,
  evalEntry,
] as const;

/** Every resource, in the order of `resources/list`; exact URIs before templates. */
export const resources: readonly ResourceDefinition[] = definitions;

/** The data of each resource, by its URI or template. */
export type ResourceData = {
  readonly [Resource in (typeof definitions)[number] as Resource["uri"]]: JsonOf<Awaited<ReturnType<Resource["read"]>>>;
};
