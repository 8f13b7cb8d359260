import type { ToolDefinition } from "./definition.ts";
import { createJobTool } from "./job.ts";
import { listModels } from "./list-models.ts";
import { manageModel } from "./manage-model.ts";
import { pullModel } from "./pull-model.ts";
import { routeAndGenerate } from "./route-and-generate.ts";
import { smartLoad } from "./smart-load.ts";
import { systemStatus } from "./system-status.ts";

/** Every tool, in the order that `tools/list` shows them: the main job first. */
export const tools: readonly ToolDefinition[] = [
  routeAndGenerate,
  listModels,
  pullModel,
  smartLoad,
  manageModel,
  createJobTool([routeAndGenerate, pullModel, smartLoad]),
  systemStatus,
];
