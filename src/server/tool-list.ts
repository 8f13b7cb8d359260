import type { Tool } from "@modelcontextprotocol/server";
import * as z from "zod";
import type { ToolDefinition } from "../tools/definition.ts";
import { hintsOf } from "./hints.ts";
import { toolIcon } from "./icons.ts";

/** A tool as `tools/list` shows it. Schemas are trimmed: every client pays for them in every conversation. */
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
    // Of outputs too: the other direction would forbid fields that a later version adds.
    io: "input",
    override({ jsonSchema: node }) {
      if (node.maximum === Number.MAX_SAFE_INTEGER) delete node.maximum;
      if (node.minimum === Number.MIN_SAFE_INTEGER) delete node.minimum;
      // Checked all the same: that an empty text is none needs no saying.
      if (node.minLength === 1) delete node.minLength;
      delete node.propertyNames;
      // Of any kind is what an object's members are anyway.
      if (JSON.stringify(node.additionalProperties) === "{}") delete node.additionalProperties;
    },
  });
  // The SDK's type wants plain JSON values, which a schema document is.
  return { ...document, type: "object" } as Tool["inputSchema"];
}
