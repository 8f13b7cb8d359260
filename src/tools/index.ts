import type { z } from "zod";
import { createTemplate, deleteTemplate, listTemplates, renderTemplate } from "./templates.ts";
import type { ReadonlyDeep, ToolDefinition } from "./definition.ts";
import { compare } from "./compare.ts";
import { evaluateModels } from "./evaluate-models.ts";
import { forget, recall, remember, transferMemories } from "./memories.ts";
import { createJobTool } from "./job.ts";
import { listModels } from "./list-models.ts";
import { manageModel } from "./manage-model.ts";
import { pickWinner } from "./pick-winner.ts";
import { projectProfile } from "./project-profile.ts";
import { pullModel } from "./pull-model.ts";
import { routeAndGenerate } from "./route-and-generate.ts";
import { smartLoad } from "./smart-load.ts";
import { systemStatus } from "./system-status.ts";
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
] as const;

/** Every tool, in the order of `tools/list`. */
export const tools: readonly ToolDefinition[] = definitions;

type Definition = (typeof definitions)[number];

export type ToolName = Definition["name"];

/** The input of each tool, by its name. */
export type ToolInputs = { readonly [Tool in Definition as Tool["name"]]: ReadonlyDeep<z.input<Tool["input"]>> };

/** The structured answer of each tool, by its name. */
export type ToolAnswers = { readonly [Tool in Definition as Tool["name"]]: ReadonlyDeep<z.output<Tool["output"]>> };
