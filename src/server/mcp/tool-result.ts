import type { CallToolResult } from "@modelcontextprotocol/server";
import type { ToolDefinition } from "../../tools/definition.ts";

/** A tool's data as an answer, as text and structured; `data` matches the tool's output. */
export function resultOf(tool: ToolDefinition, data: Record<string, unknown>): CallToolResult {
  const rendered = tool.render(data);
  const texts = typeof rendered === "string" ? [rendered] : rendered;
  return { content: texts.map((text) => ({ type: "text" as const, text })), structuredContent: data };
}
