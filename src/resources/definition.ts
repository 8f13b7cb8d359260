import type { Orchestrator } from "../orchestrator/facade.ts";
import type { CallerContext } from "../orchestrator/types.ts";

export interface ResourceContext {
  readonly orchestrator: Orchestrator;
  readonly caller: CallerContext;
}

/** One resource or template of resources (JSON), one file. Plain data out; the server turns it into MCP. */
export interface ResourceDefinition {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** `ollm://status/ram`, or with one variable: `ollm://models/{name}`. */
  readonly uri: string;
  read(variables: Readonly<Record<string, string>>, context: ResourceContext): Promise<object>;
  /** Concrete members of a template, for `resources/list`. */
  list?(context: ResourceContext): Promise<readonly { readonly uri: string; readonly name: string }[]>;
}
