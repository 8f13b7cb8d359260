import type { PromptSource } from "./definition.ts";
import { memoryPrompt } from "./memory.ts";
import { templatePrompts } from "./templates.ts";

/** Every source of prompts, in the order of `prompts/list`; of prompts with the same name the first is used. */
export const promptSources: readonly PromptSource[] = [memoryPrompt, templatePrompts];
