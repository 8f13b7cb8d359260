import { readdir } from "node:fs/promises";
import { encode } from "gpt-tokenizer/encoding/o200k_base";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { parseGitSource } from "../../src/server/files/git-repository.ts";
import { hintsOf, toolEntry } from "../../src/server/mcp/handle-tools.ts";
import { type ToolDefinition, isRepeatable } from "../../src/tools/definition.ts";
import { tools } from "../../src/tools/index.ts";
import { routeAndGenerate } from "../../src/tools/route-and-generate.ts";
import { toolsOnOffer } from "../../src/server/call/offered-tools.ts";
import { createFakeOrchestrator, generated } from "../support/fake-orchestrator.ts";
import { connectMemoryClient } from "../support/memory-client.ts";

const tokens = (value: unknown) => encode(typeof value === "string" ? value : JSON.stringify(value)).length;

describe("the list of tools", () => {
  it("holds every tool that is defined", async () => {
    const folder = new URL("../../src/tools/", import.meta.url);
    const modules = (await readdir(folder)).map((file) => import(new URL(file, folder).href) as Promise<object>);
    const exported = (await Promise.all(modules)).flatMap((each) => Object.values(each) as readonly object[]);
    const defined = exported.filter((each): each is ToolDefinition => "effect" in each && "run" in each);
    expect(tools.map(({ name }) => name).toSorted()).toEqual(["job", ...defined.map(({ name }) => name)].toSorted());
  });

  it("costs an assistant little", () => {
    const names = toolsOnOffer(tools, [{ where: "", sets: ["default"] }]).names;
    const offered = tools.filter(({ name }) => names.includes(name));
    const shown = offered.map((tool) => {
      const { outputSchema: _output, icons: _icons, _meta, ...entry } = toolEntry(tool);
      // It costs nothing: the clients that were tried don't give it to their models.
      expect(_meta).toEqual(tool.name === "route_and_generate" ? { "anthropic/alwaysLoad": true } : undefined);
      return entry;
    });
    expect(tokens({ tools: shown })).toBeLessThan(2_600);
    const whole = offered.map((tool) => ({ ...toolEntry(tool), icons: [], _meta: undefined }));
    expect(tokens({ tools: whole })).toBeLessThan(6_000);
  });

  it("names every git source that files take", () => {
    const { description } = routeAndGenerate.input.shape.files;
    for (const form of ["git:staged", "git:diff", "git:diff:main", "git:log:5", "git:show:HEAD"]) {
      expect(() => parseGitSource(form)).not.toThrow();
      expect(description).toContain(form.replace(/:(main|HEAD)$/, ":REF").replace(/:5$/, ":N"));
    }
  });

  it("shows what it did in the last version", () => {
    expect(
      tools.map((tool) => {
        const { inputSchema } = toolEntry(tool);
        return `${tool.name}(${Object.keys(inputSchema.properties ?? {}).join(" ")}) ${tool.description}`;
      }),
    ).toMatchInlineSnapshot(`
      [
        "route_and_generate(prompt system task complexity profile model files images audio format max_tokens temperature top_p context_tokens think keep_alive privacy use_memory cache_prompt template variables continue_id output_path check split grounded explain dry_run for_each) Summarise or explain files, logs and diffs; translate; extract, classify, label or sort data; draft a reply, e-mail or README; write comments, unit tests, boilerplate, example data or a commit message. A local model does it, private text too. Name long files instead of reading them.",
        "list_models(query capability engine loaded_only verbose limit) List installed models: size, whether loaded, whether they fit. If none, suggests one.",
        "pull_model(model from engine) Download a model by Ollama name (qwen3:4b-instruct) or hf.co/org/repo:quant; a repeated call joins or resumes.",
        "smart_load(model context_tokens keep_alive dry_run) Load a model ahead of use, unloading idle ones if needed. dry_run: whether it fits, what it would unload. route_and_generate loads by itself.",
        "manage_model(action model confirm base system parameters adapter template) unload frees memory; pin keeps a model loaded; delete removes it from disk (asks the user); create derives model from base, the rest as in a Modelfile (adapter: a LoRA GGUF).",
        "remember(key value category scope tags pinned ttl force) Save a lasting fact or preference; local models get relevant ones with each prompt. The same key replaces its value.",
        "recall(key query category scope limit) Find what remember saved, by key or by the meaning of query; without both, the newest.",
        "forget(key all category scope confirm) Delete what remember saved: one key, or all of a category or scope (asks the user, or confirm true).",
        "transfer_memories(action format text after force) export: all saved entries, page by page. import: reads such a text; existing keys are overwritten.",
        "render_template(name variables files generate) Fill in a prompt template, with the text of files, and return it; generate: have a local model answer it.",
        "list_templates(query) List prompt templates with their variables, for route_and_generate.",
        "create_template(name template description variables system model profile temperature top_p max_tokens format scope overwrite) Save a prompt template: {name} and {name:default} are variables, {{ and }} are braces.",
        "delete_template(name confirm) Delete a prompt template of the user (asks the user, or confirm true); built-in ones stay.",
        "compare(prompt models system files judge runs max_tokens) Ask 2 to 5 models the same: answers, speed and memory side by side.",
        "pick_winner(action comparison_id model task answer_id force) pick: routing prefers model for task, or that of a comparison. good, bad: rate its answer. undo: undo a pick.",
        "project_profile(action profile folder) Project settings for local models (.ollm/project.yaml). show: those in force; detect: a folder's kind; init writes the file; use applies it, or a profile for this session.",
        "job(action job_id) A call that took too long. wait returns its answer, or asks to wait again; status: the text so far; cancel stops it; list: the last day.",
        "system_status() Memory, loaded models, queue, engines and warnings. Use it when a call fails or is slow.",
        "update_config(action path value) show: settings, values and their sources. set, unset: change config.yaml, in effect at once; asks the user about those that do more than tune local models.",
        "evaluate_models(action cases from_ratings models judge budget max_tokens eval_id) Which model for the user's work: asks each model each case of files ({prompt, expected} a line) and shows quality with its interval, speed, memory and cost. Repeat the call to continue one that was interrupted.",
        "run_pipeline(pipeline inputs skip dry_run goal) Run a pipeline of prompts with local models as a job: a name (without one, all are listed), a YAML file, or YAML with steps. Each step takes what route_and_generate takes, files, and what earlier steps gave.",
        "export_training(action format tasks sources output_path dry_run) Writes the user's rated, picked or verified answers as chat lines for a trainer, without those with secrets, and a card beside them. dry_run counts. Returns counts, never the texts. forget deletes recorded answers.",
        "delegate(task files worker verify profile model max_turns max_seconds apply) Have a local model do a small task on a copy of files. A check decides: it returns a verified diff, or hands the task back. apply puts the diff into the files. A job from its start.",
      ]
    `);
  });
});

describe.each(tools.map((tool) => [tool.name, tool] as const))("%s", (name, tool: ToolDefinition) => {
  it("is named and described for an assistant", () => {
    expect(name).toMatch(/^[a-z]+(_[a-z]+)*$/);
    expect(tool.description.length).toBeGreaterThan(60);
    expect(tool.description.length).toBeLessThan(320);
    expect(tool.description).toMatch(/\.$/);
  });

  it("declares its hints, without contradiction", () => {
    const hints = hintsOf(tool);
    for (const hint of ["readOnlyHint", "destructiveHint", "openWorldHint"] as const) {
      expect(hints[hint]).toBeTypeOf("boolean");
    }
    // False by default, and without meaning for a tool that only reads.
    expect(hints.idempotentHint).toBe(isRepeatable(tool) && tool.effect !== "read" ? true : undefined);
    expect(hints.readOnlyHint && hints.destructiveHint).toBe(false);
  });

  it("takes and gives flat snake_case, and refuses unknown fields", () => {
    const { inputSchema, outputSchema } = toolEntry(tool);
    expect(inputSchema["additionalProperties"]).toBe(false);
    // A later version may add fields to an answer: old clients must not refuse them.
    expect(outputSchema?.["additionalProperties"]).toBeUndefined();
    for (const field of [...keysOf(inputSchema), ...keysOf(outputSchema)]) expect(field).toMatch(/^[a-z]+(_[a-z]+)*$/);
  });

  it("describes numbers that could be mistaken", () => {
    const text = JSON.stringify(toolEntry(tool));
    expect(text).not.toContain("9007199254740991");
    expect(text).not.toContain("$schema");
  });
});

describe("an answer", () => {
  it("costs at most 25 tokens as text and 60 in its structure, beyond the model's own text", async () => {
    const { client, call } = await connectMemoryClient(createFakeOrchestrator());
    const answers = {
      route_and_generate: await call("route_and_generate", { prompt: "Hi" }),
      smart_load: await call("smart_load", { model: "qwen2.5-coder:7b" }),
      pull_model: await call("pull_model", { model: "smollm2:135m" }),
      delete: await call("manage_model", { action: "delete", model: "qwen2.5-coder:7b", confirm: true }),
      unload: await call("manage_model", { action: "unload", model: "smollm2:135m" }),
    };
    await client.close();
    const costs = Object.entries(answers).map(([name, { content, structuredContent }]) => {
      const text = content.map((block) => (block.type === "text" ? block.text : "")).join("\n");
      const { text: _own, plan: _plan, ...figures } = structuredContent as Record<string, unknown>;
      return { name, text: tokens(text.replace(generated.text, "")), structured: tokens(figures) };
    });
    expect(costs.filter(({ text }) => text > 25)).toEqual([]);
    expect(costs.filter(({ structured }) => structured > 60)).toEqual([]);
  });
});

function keysOf(schema: unknown): string[] {
  if (typeof schema !== "object" || schema === null) return [];
  const own =
    "properties" in schema && typeof schema.properties === "object" ? Object.keys(schema.properties ?? {}) : [];
  return [
    ...own,
    ...Object.values(schema).flatMap((value) => (Array.isArray(value) ? value.flatMap(keysOf) : keysOf(value))),
  ];
}

/** What is said beside an answer's own content: clients that show the text alone must not lose it. */
const remarks = ["notes", "note", "warnings", "problems"];

describe.each(
  tools.flatMap((tool) => {
    const { properties = {} } = z.toJSONSchema(tool.output);
    return remarks.filter((key) => key in properties).map((key) => [tool.name, key, tool] as const);
  }),
)("%s with %s", (_name, key, tool) => {
  it("has every one of them in its text", () => {
    const schema = z.toJSONSchema(tool.output);
    const field = schema.properties?.[key];
    const isList = typeof field === "object" && field.type === "array";
    const said = isList ? ["the first remark", "the second remark"] : ["the only remark"];
    const data = tool.output.parse({ ...(sampleOf(schema) as object), [key]: isList ? said : said[0] });
    const rendered = [tool.render(data)].flat().join("\n");
    for (const remark of said) expect(rendered).toContain(remark);
  });
});

/** The least that a JSON Schema allows: required members alone. */
function sampleOf(schema: z.core.JSONSchema.JSONSchema): unknown {
  if (schema.enum !== undefined) return schema.enum[0];
  switch (schema.type) {
    case "object":
      return Object.fromEntries(
        (schema.required ?? []).map((name) => [
          name,
          sampleOf(schema.properties?.[name] as z.core.JSONSchema.JSONSchema),
        ]),
      );
    case "array":
      return [];
    case "number":
    case "integer":
      return 1;
    case "boolean":
      return true;
    default:
      return "x";
  }
}
