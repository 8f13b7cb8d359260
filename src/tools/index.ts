import type { z } from "zod";
import type { ReadonlyDeep, ToolDefinition } from "./definition.ts";
import { compare, evaluateModels } from "./compare.ts";
import { delegate } from "./delegate.ts";
import { exportTraining } from "./export-training.ts";
import { forget, recall, remember, transferMemories } from "./memories.ts";
import { createJobTool } from "./job.ts";
import { listModels } from "./list-models.ts";
import { manageModel, pullModel } from "./manage-model.ts";
import { pickWinner } from "./pick-winner.ts";
import { projectProfile } from "./project-profile.ts";
import { routeAndGenerate } from "./route-and-generate.ts";
import { runPipeline } from "./run-pipeline.ts";
import { smartLoad } from "./smart-load.ts";
import { systemStatus } from "./system-status.ts";
import { createTemplate, deleteTemplate, listTemplates, renderTemplate } from "./templates.ts";
import { updateConfig } from "./update-config.ts";

const definitions = [
  routeAndGenerate,
  listModels,
  pullModel,
  smartLoad,
  manageModel,
  remember,
  recall,
  forget,
  transferMemories,
  renderTemplate,
  listTemplates,
  createTemplate,
  deleteTemplate,
  compare,
  pickWinner,
  projectProfile,
  createJobTool(() => tools),
  systemStatus,
  updateConfig,
  evaluateModels,
  runPipeline,
  exportTraining,
  delegate,
] as const;

/** Every tool, in the order of `tools/list`. */
export const tools: readonly ToolDefinition[] = definitions;

type Definition = (typeof definitions)[number];

export type ToolName = Definition["name"];

/** The input of each tool, by its name. */
export type ToolInputs = { readonly [Tool in Definition as Tool["name"]]: ReadonlyDeep<z.input<Tool["input"]>> };

/** The structured answer of each tool, by its name. */
export type ToolAnswers = { readonly [Tool in Definition as Tool["name"]]: ReadonlyDeep<z.output<Tool["output"]>> };
