import type { ToolAnnotations } from "@modelcontextprotocol/server";
import type { ToolDefinition } from "../tools/definition.ts";

/** All four MCP hints of a tool, derived here and nowhere else, so that they can't contradict each other. */
export function hintsOf(tool: ToolDefinition): Required<ToolAnnotations> {
  return {
    title: tool.title,
    readOnlyHint: tool.effect === "read",
    destructiveHint: tool.effect === "destroy",
    idempotentHint: tool.isIdempotent,
    openWorldHint: tool.isOpenWorld,
  };
}
