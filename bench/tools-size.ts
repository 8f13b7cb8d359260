import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { countTokens } from "gpt-tokenizer/encoding/o200k_base";
import { sampleModels, startFakeOllama } from "../test/support/fake-ollama.ts";
import type { Bench, BenchResult } from "./bench.ts";
import { command, withCleanEnvironment } from "./support/environment.ts";

/** A typical call of each tool, in the order in which they depend on one another. */
const typicalCalls: readonly (readonly [tool: string, input: Readonly<Record<string, unknown>>])[] = [
  ["list_models", {}],
  ["list_models", { verbose: true }],
  ["smart_load", { model: "smollm2:135m", dry_run: true }],
  ["smart_load", { model: "smollm2:135m" }],
  ["route_and_generate", { prompt: "Name three colours.", model: "smollm2:135m" }],
  ["route_and_generate", { prompt: "Name three colours.", model: "smollm2:135m", explain: true }],
  ["route_and_generate", { prompt: "Name three colours.", model: "smollm2:135m", dry_run: true }],
  ["system_status", {}],
  ["manage_model", { action: "show", model: "smollm2:135m" }],
  ["manage_model", { action: "unload", model: "smollm2:135m" }],
  ["pull_model", { model: "smollm2:135m" }],
];

/** Every conversation of every client pays for it. */
export const listBar = 2_600;
/** Design section 7: what an answer may cost beyond the model's own text, in each form. */
export const answerBar = 25;

export const toolsSize: Bench = {
  name: "tools-size",
  summary: "bytes and o200k tokens of tools/list and of a typical answer of each tool, in both forms",
  run: () => withCleanEnvironment(measure),
};

async function measure(environment: Record<string, string>): Promise<BenchResult> {
  const ollama = await startFakeOllama({ models: sampleModels });
  const client = new Client({ name: "bench", version: "1" });
  try {
    await client.connect(
      new StdioClientTransport({
        command: process.execPath,
        args: [command, "--standalone"],
        env: { ...environment, OLLM_HOST: ollama.url, OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false" },
        stderr: "inherit",
      }),
    );
    const { tools } = await client.listTools();
    // What clients put before their model.
    const read = measured("tools/list without output schemas and icons", {
      json: tools.map(({ outputSchema: _checked, icons: _shown, _meta: _forClients, ...tool }) => tool),
    });
    const rows: Row[] = [
      measured("tools/list", { json: tools }),
      read,
      ...tools.map((tool) => measured(`  ${tool.name}`, { json: tool })),
    ];
    const broken: string[] = [];
    if (read.tokens > listBar) broken.push(`tools/list costs ${read.tokens} tokens, bar ${listBar}`);
    for (const [name, input] of typicalCalls) {
      const result = await client.callTool({ name, arguments: input });
      const text = result.content.map((block) => (block.type === "text" ? block.text : "")).join("\n");
      const label = `${name} ${JSON.stringify(input)}`;
      if (result.isError === true) throw new Error(`${label} failed: ${text}`);
      rows.push(
        measured(`${label}: text`, { text }),
        measured(`${label}: structured`, { json: result.structuredContent }),
      );
      if (name !== "route_and_generate" || Object.keys(input).length > 2) continue;
      const own = measured("", { text: ownText(result.structuredContent) });
      for (const [form, whole] of [
        ["text", measured("", { text })],
        ["structured", measured("", { json: result.structuredContent })],
      ] as const) {
        const tokens = whole.tokens - own.tokens;
        rows.push({ what: `${label}: ${form}, beyond the model's own text`, bytes: whole.bytes - own.bytes, tokens });
        if (tokens <= answerBar) continue;
        broken.push(`the ${form} form costs ${tokens} tokens beyond the model's own, bar ${answerBar}`);
      }
    }
    return {
      rows,
      verdict: [
        `tools/list ${read.tokens} tokens without output schemas and icons (bar ${listBar})`,
        ...(broken.length > 0
          ? broken
          : [`an answer costs at most ${answerBar} beyond the model's own text, in each form`]),
      ].join("; "),
      passed: broken.length === 0,
    };
  } finally {
    await client.close();
    await ollama.close();
  }
}

interface Row extends Readonly<Record<string, string | number>> {
  readonly what: string;
  readonly bytes: number;
  readonly tokens: number;
}

function measured(what: string, content: { readonly text: string } | { readonly json: unknown }) {
  const text = "text" in content ? content.text : JSON.stringify(content.json);
  return { what, bytes: Buffer.byteLength(text), tokens: countTokens(text) };
}

/** What the model itself said. */
function ownText(structured: unknown): string {
  const { text } = structured as { text?: unknown };
  return typeof text === "string" ? text : "";
}
