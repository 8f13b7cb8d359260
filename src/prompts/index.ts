import type { PromptSource } from "./definition.ts";
import { memoryPrompt } from "./memory.ts";
import { templatePrompts } from "./templates.ts";

/** Every source of prompts, in the order of `prompts/list`; when names collide the first prompt counts. */
export const promptSources: readonly PromptSource[] = [memoryPrompt, templatePrompts];
