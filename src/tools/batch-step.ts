import { InvalidRequest, type NeedsInput } from "../orchestrator/api/errors.ts";
import type { BatchItem, BatchStep } from "../orchestrator/api/facade-batches.ts";
import type { GenerateRequest } from "../orchestrator/api/facade.ts";
import { defined } from "../orchestrator/util/defined.ts";
import { stepMark } from "../orchestrator/util/placeholders.ts";
import type { ToolContext } from "./definition.ts";
import { type GenerationInput, filledFrom, generationRequest } from "./generation-request.ts";
import type { FilledTemplate } from "./render-template.ts";

/** Files that one pattern of a batch may match. */
const mostFiles = 2000;

/** A step without `for_each` is one prompt. Throws `InvalidRequest`. */
export async function stepFrom(
  name: string,
  request: Omit<GenerationInput, "for_each"> & {
    readonly for_each?: Partial<NonNullable<GenerationInput["for_each"]>> | undefined;
  },
  context: ToolContext,
): Promise<BatchStep<GenerateRequest> | { readonly needsInput: NeedsInput }> {
  const { template, prompt, output_path: output } = request;
  const { for_each: { of, each, reduce: _reduce, ...how } = {}, ...asked } = request;
  const { questions } = how;
  if (questions !== undefined && (template !== undefined || prompt !== undefined))
    throw new InvalidRequest("questions stand in place of prompt and template", {
      next: { step: "omitArgument", argument: template === undefined ? "prompt" : "template" },
    });
  let first: FilledTemplate | undefined;
  const items: BatchItem[] = [];
  if (of === undefined) {
    const filled = template === undefined ? undefined : await filledFrom(template, asked, context);
    if (filled !== undefined && "needsInput" in filled) return filled;
    first = filled;
    items.push({ name, path: name });
  } else {
    for (const { text, ...item } of await itemsOf(of, each, context)) {
      if (template === undefined) items.push({ ...item, ...defined({ text }) });
      else {
        const readFiles = () => Promise.resolve([{ path: item.path, text: text ?? "" }]);
        const filled = await filledFrom(template, asked, context, readFiles);
        if ("needsInput" in filled) return filled;
        first ??= filled;
        const own = [filled.text, prompt].filter((part) => part !== undefined).join("\n\n");
        items.push({ ...item, prompt: own, ...(!filled.hasFiles && defined({ text })) });
      }
    }
  }
  const prepared = await generationRequest({ ...asked, prompt: prompt ?? questions?.[0] }, first, context);
  return { name, request: prepared, items, ...defined({ ...how, output }) };
}

async function itemsOf(
  of: readonly string[],
  each: NonNullable<GenerationInput["for_each"]>["each"],
  { orchestrator, files }: ToolContext,
): Promise<readonly BatchItem[]> {
  return orchestrator.batches.items(await files.readText(of, mostFiles), each);
}

/** Asks about all answers of a step. */
export function reduceStep(prompt: string, { name, request }: BatchStep<GenerateRequest>): BatchStep<GenerateRequest> {
  const { model, system, privacy, maxTokens } = request;
  return {
    name: "reduce",
    request: { prompt, ...defined({ model, system, privacy, maxTokens }), useMemory: false },
    items: [{ name: "reduce", path: "reduce" }],
    input: [stepMark(name)],
  };
}
