import type { ToolAnnotations } from "@modelcontextprotocol/server";
import type { ToolDefinition } from "../tools/definition.ts";

/**
 * All four MCP hints of a tool, derived in one place so that they can't contradict each other. The title is left out: the
 * tool has it already, and repeating it would cost every conversation.
 */
export function hintsOf(tool: ToolDefinition): Required<Omit<ToolAnnotations, "title">> {
  return {
    readOnlyHint: tool.effect === "read",
    destructiveHint: tool.effect === "destroy",
    idempotentHint: tool.isIdempotent,
    openWorldHint: tool.isOpenWorld,
  };
}
