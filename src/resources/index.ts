import type { ResourceDefinition } from "./definition.ts";
import { job } from "./job.ts";
import { model } from "./model.ts";
import { modelDatabase } from "./model-database.ts";
import { models } from "./models.ts";
import { ramStatus } from "./ram-status.ts";

/** Every resource, in the order of `resources/list`; exact addresses before templates. */
export const resources: readonly ResourceDefinition[] = [ramStatus, models, modelDatabase, model, job];
