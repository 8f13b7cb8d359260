import { isRepeatable } from "./definition.ts";
import { tools } from "./index.ts";

/**
 * What a front knows of tools. It starts with every client, so it does not load their definitions: the build puts the value
 * in the place of this module (`scripts/build.ts`).
 */
export const toolFacts: ReadonlyMap<
  string,
  {
    readonly delegates: boolean;
    /** What to check before a call whose answer was lost is made again; absent: nothing. */
    readonly check?: `check ${string}`;
  }
> = new Map(
  tools.map((tool) => {
    const { name, delegates = false, whenCutOff } = tool;
    const next = whenCutOff ?? (isRepeatable(tool) ? "repeat" : "check what was done");
    return [name, { delegates, ...(next !== "repeat" && { check: next }) }];
  }),
);
