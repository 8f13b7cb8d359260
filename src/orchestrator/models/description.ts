import { lookUp } from "../catalog/database.ts";
import { LoadFailed, UnknownModel } from "../api/errors.ts";
import type { ModelDescription } from "../api/facade.ts";
import type { LocatedModel } from "./located-model.ts";
import type { CallerContext, ModelFacts } from "../api/types.ts";
import { listOne, type ListingSource, staleSinceOf } from "./listing.ts";

/** Returns everything known about one model. Throws `UnknownModel`. */
export async function describeModel(
  source: ListingSource,
  caller: CallerContext,
  name: string,
): Promise<ModelDescription> {
  const [located] = await source.inventory.locate(name);
  if (located === undefined) throw new UnknownModel(`no model ${name}`, { next: { step: "listModels" } });
  const [model, known, staleSince] = await Promise.all([
    listOne(source, caller, located),
    readableFacts(source, caller, located),
    staleSinceOf(source, located),
  ]);
  const database = lookUp(name);
  const { facts, error } = known;
  const broken = error === undefined ? {} : { status: "error" as const, error };
  return {
    model: { ...model, ...broken },
    facts,
    ...(staleSince === undefined ? {} : { staleSince }),
    ...(database === undefined ? {} : { database }),
  };
}

/** A file that can't be read is described by its error in place of its facts, so that the user can delete it. */
async function readableFacts(
  { inventory }: ListingSource,
  caller: CallerContext,
  located: LocatedModel,
): Promise<{ facts: ModelFacts; error?: string }> {
  try {
    return { facts: await inventory.facts(located, caller.signal) };
  } catch (error) {
    if (!(error instanceof LoadFailed)) throw error;
    const { name, sizeBytes, trust, digest } = located.model;
    return {
      facts: { name, sizeBytes, trust, ...(digest === undefined ? {} : { digest }), capabilities: [] },
      error: error.message,
    };
  }
}
