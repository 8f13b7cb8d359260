import type { ToolAnnotations } from "@modelcontextprotocol/server";
import type { ToolDefinition } from "../../tools/definition.ts";

/**
 * The MCP hints of a tool, derived in one place so that they can't contradict each other. Left out, because every
 * conversation pays for them: the title, which the tool has already, and `idempotentHint` where it has its default or,
 * for a tool that only reads, no meaning.
 */
export function hintsOf(tool: ToolDefinition): Omit<ToolAnnotations, "title"> {
  const isRead = tool.effect === "read";
  return {
    readOnlyHint: isRead,
    destructiveHint: tool.effect === "destroy",
    ...(tool.isIdempotent && !isRead && { idempotentHint: true }),
    openWorldHint: tool.isOpenWorld,
  };
}
