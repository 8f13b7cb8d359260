import type { Tool } from "@modelcontextprotocol/server";
import * as z from "zod";
import type { ToolDefinition } from "../../tools/definition.ts";
import { hintsOf } from "./hints.ts";
import { toolIcon } from "./icons.ts";

/** A tool in `tools/list`. Schemas are trimmed, since every client pays for them in every conversation. */
export function toolEntry(tool: ToolDefinition): Tool {
  return {
    name: tool.name,
    title: tool.title,
    description: tool.description,
    inputSchema: jsonSchema(tool.input),
    outputSchema: jsonSchema(publishedOutput(tool)),
    annotations: hintsOf(tool),
    icons: [toolIcon(tool.effect)],
  };
}

function publishedOutput({ output, canBecomeJob }: ToolDefinition): z.ZodObject {
  if (canBecomeJob !== true) return output;
  return output.partial().extend({
    job: z.string().optional().describe("Id of the background job."),
    next: z.string().optional().describe("How to get the job's answer."),
  });
}

function jsonSchema(schema: z.ZodObject): Tool["inputSchema"] {
  const { $schema: _dialect, ...document } = z.toJSONSchema(schema, {
    // For outputs, too: `output` would forbid fields that a later version adds.
    io: "input",
    override({ jsonSchema: node }) {
      if (node.maximum === Number.MAX_SAFE_INTEGER) delete node.maximum;
      if (node.minimum === Number.MIN_SAFE_INTEGER) delete node.minimum;
      // Still validated: that a text is not empty, a count is not 0 and a list has an end is obvious.
      if (node.minLength === 1) delete node.minLength;
      if (node.minimum === 1) delete node.minimum;
      delete node.maxItems;
      delete node.propertyNames;
      // The default for objects.
      if (JSON.stringify(node.additionalProperties) === "{}") delete node.additionalProperties;
    },
  });
  // The SDK's type requires plain JSON values, which a schema document is.
  return { ...document, type: "object" } as Tool["inputSchema"];
}
