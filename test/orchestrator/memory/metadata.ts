import { dimensionsOf, type ModelDimensions } from "../../../src/orchestrator/memory/dimensions.ts";
import type { LoadShape } from "../../../src/orchestrator/api/types.ts";
import { fittedShapes, heldOutShapes, inventedShapes } from "../../support/model-shapes.ts";
import { metadataOf } from "../../support/shape-gguf.ts";

/** The dimensions of a model of `fit-grid`, as from an engine's description. */
export function published(name: string): ModelDimensions {
  const shape = [...fittedShapes, ...heldOutShapes, ...inventedShapes].find((candidate) => candidate.name === name);
  if (shape === undefined) throw new Error(`no shape ${name}`);
  const metadata = Object.fromEntries(metadataOf(shape).map(([key, , value]) => [key, value]));
  return dimensionsIn(metadata, shape.vocabulary);
}

/** Throws if the formula doesn't support the model. */
export function dimensionsIn(metadata: Readonly<Record<string, unknown>>, vocabularySize = 1_000): ModelDimensions {
  const dimensions = dimensionsOf({ metadata, vocabularySize });
  if (dimensions === undefined) throw new Error("no dimensions");
  return dimensions;
}

export function load(contextTokens: number, more: Partial<LoadShape> = {}): LoadShape {
  return { contextTokens, parallel: 1, batchTokens: 512, cacheType: "f16", hasFlashAttention: true, ...more };
}
