import type { ToolAnnotations } from "@modelcontextprotocol/server";
import type { ToolDefinition } from "../tools/definition.ts";

/**
 * All four MCP hints of a tool, derived here and nowhere else, so that they can't contradict each other. The title stands
 * with the tool itself: twice it would cost every conversation.
 */
export function hintsOf(tool: ToolDefinition): Required<Omit<ToolAnnotations, "title">> {
  return {
    readOnlyHint: tool.effect === "read",
    destructiveHint: tool.effect === "destroy",
    idempotentHint: tool.isIdempotent,
    openWorldHint: tool.isOpenWorld,
  };
}
