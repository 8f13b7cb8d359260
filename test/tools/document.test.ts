import { expect, it } from "vitest";
import * as z from "zod";
import { resources } from "../../src/resources/index.ts";
import { tools } from "../../src/tools/index.ts";
import { toolsOnOffer } from "../../src/server/call/offered-tools.ts";

interface Node {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Node[];
  readonly items?: Node;
  readonly description?: string;
}

/** `string`, `"low" | "high"`, `string[]` */
function typeOf(node: Node): string {
  if (node.const !== undefined) return JSON.stringify(node.const);
  if (node.enum !== undefined) return node.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (node.anyOf !== undefined) return node.anyOf.map(typeOf).join(" | ");
  if (node.items !== undefined) return `${typeOf(node.items)}[]`;
  return node.type ?? "any";
}

const offered = toolsOnOffer(tools, [{ where: "", sets: ["default"] }]).names;

it("every tool and resource is in docs/tools.md (vitest -u writes it)", async () => {
  const sections = tools.map((tool) => {
    const schema = z.toJSONSchema(tool.input, { io: "input" }) as {
      properties?: Record<string, Node>;
      required?: readonly string[];
    };
    const rows = Object.entries(schema.properties ?? {}).map(([name, node]) => {
      const mark = schema.required?.includes(name) === true ? "" : "?";
      return `- \`${name}\`${mark} \`${typeOf(node)}\`${node.description === undefined ? "" : `: ${node.description}`}`;
    });
    const set = offered.includes(tool.name) ? "" : " Not in the set `default` (`tools.sets`).";
    return `## ${tool.name}\n\n${tool.description}${set}\n\n${rows.length === 0 ? "No inputs." : rows.join("\n")}\n`;
  });
  const reading = resources.map(({ uri, description }) => `- \`${uri}\`: ${description}`);
  const head = "# Tools and resources\n\nWritten by a test from the definitions themselves. `?`: may be left out.\n";
  const tail = `## Resources\n\n${reading.join("\n")}\n`;
  await expect([head, ...sections, tail].join("\n")).toMatchFileSnapshot("../../docs/tools.md");
});
