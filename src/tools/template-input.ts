import type { GenerateRequest, Orchestrator } from "../orchestrator/api/facade.ts";
import type { NeedsInput } from "../orchestrator/api/needs-input.ts";
import type { ReadFiles } from "../orchestrator/api/facade-templates.ts";
import { missingVariables } from "../orchestrator/api/template-question.ts";
import type { CallerContext } from "../orchestrator/api/types.ts";
import { present } from "./render.ts";

/** A filled template, with its options as those of a generation. */
export type FilledTemplate = { readonly text: string; readonly hasFiles: boolean } & Pick<
  GenerateRequest,
  "system" | "model" | "profile" | "temperature" | "topP" | "maxTokens" | "format"
>;

/**
 * Fills a template, or returns the question for missing values, whose answers are merged into `variables`. For tools with
 * the inputs `template` (or `name`), `variables` and `files`. Throws `UnknownTemplate`, and `InvalidRequest` for unknown
 * variables and values that are not allowed.
 */
export async function renderedFrom(
  orchestrator: Orchestrator,
  caller: CallerContext,
  name: string,
  variables: Readonly<Record<string, string | number | boolean>> = {},
  readFiles?: ReadFiles,
): Promise<FilledTemplate | { readonly needsInput: NeedsInput }> {
  const outcome = await orchestrator.templates.render(caller, name, variables, readFiles);
  if ("missing" in outcome) return { needsInput: missingVariables(outcome, "variables") };
  const { template, text, system, hasFiles } = outcome.rendered;
  const { model, profile, format, options } = template;
  return {
    text,
    hasFiles,
    ...present({
      system,
      model,
      profile,
      format,
      temperature: options?.temperature,
      topP: options?.topP,
      maxTokens: options?.maxTokens,
    }),
  };
}
