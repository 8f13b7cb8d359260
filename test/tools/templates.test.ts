import { mkdtemp, readFile, readdir, rm, writeFile, mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Orchestrator } from "../../src/orchestrator/api/facade.ts";
import { CallerTemplates } from "../../src/orchestrator/templates/templates.ts";
import { createFakeOrchestrator, generated } from "../support/fake-orchestrator.ts";
import {
  connectMemoryClient,
  type Era,
  type MemoryClient,
  type MemoryClientOptions,
} from "../support/memory-client.ts";

const eras: readonly Era[] = ["legacy", "modern"];
let home = "";
let templates: CallerTemplates;
let connection: MemoryClient;
let asked: ReturnType<typeof createFakeOrchestrator>["asked"];

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "templates-"));
  await mkdir(join(home, "templates"));
  const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };
  templates = new CallerTemplates({ folder: join(home, "templates"), log, emit: () => undefined });
});
afterEach(async () => {
  await connection.close();
  templates.close();
  await rm(home, { recursive: true, force: true });
});

async function connect(options: MemoryClientOptions = {}, replace: Partial<Orchestrator> = {}): Promise<MemoryClient> {
  const orchestrator = createFakeOrchestrator({ templates, ...replace });
  ({ asked } = orchestrator);
  // As the shell: every tool is on offer to it.
  connection = await connectMemoryClient(orchestrator, { clientName: "ollm", ...options });
  return connection;
}
const put = (name: string, text: string) => writeFile(join(home, "templates", `${name}.yaml`), text);
const greet = `description: Greets.
template: 'Greet {who} in {words:20} words.'
system: Be {tone}.
variables:
  - { name: who, description: The person to greet. }
  - { name: tone, enum: [warm, curt] }
  - { name: words, type: number }
options: { temperature: 0.1, maxTokens: 50 }
profile: creative
`;

describe("render_template", () => {
  it("fills in a template, and expands no values", async () => {
    await put("greet", greet);
    const { call } = await connect();
    const variables = { who: "{words} {{x}}", tone: "warm", words: 3 };
    expect(await call("render_template", { name: "greet", variables })).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "Greet {words} {{x}} in 3 words.",
            "type": "text",
          },
          {
            "text": "system: Be warm.",
            "type": "text",
          },
        ],
        "structuredContent": {
          "system": "Be warm.",
          "text": "Greet {words} {{x}} in 3 words.",
        },
      }
    `);
    expect(asked).toEqual([]);
  });

  it("generates with the template's options", async () => {
    await put("greet", `${greet}format: json\n`);
    const { call } = await connect();
    const result = await call("render_template", {
      name: "greet",
      variables: { who: "Ada", tone: "curt" },
      generate: true,
    });
    expect(asked).toEqual([
      [
        "generate",
        {
          prompt: "Greet Ada in 20 words.",
          system: "Be curt.",
          profile: "creative",
          temperature: 0.1,
          maxTokens: 50,
          format: "json",
        },
      ],
    ]);
    expect(result.content[0]).toEqual({ type: "text", text: generated.text });
    expect(result.structuredContent).toEqual({ text: generated.text, model: generated.model });
  });

  it.each(eras)("asks for all missing variables at once, and merges the answers into variables (%s)", async (era) => {
    await put("greet", greet);
    const content = { tone: "curt", words: 99, name: "translate", generate: true };
    const { call, questions } = await connect({ era, elicit: () => ({ action: "accept", content }) });
    const result = await call("render_template", { name: "greet", variables: { who: "Ada" } });
    expect(questions).toEqual(["Template greet needs tone."]);
    // Answers count for what was asked alone.
    expect(result.structuredContent).toEqual({ text: "Greet Ada in 20 words.", system: "Be curt." });
    expect(asked).toEqual([]);
  });

  it("asks when no variables are given, too", async () => {
    await put("greet", greet);
    const { call } = await connect({ elicit: () => ({ action: "accept", content: { tone: "curt", who: "Bob" } }) });
    const result = await call("render_template", { name: "greet" });
    expect(result.structuredContent).toMatchObject({ text: "Greet Bob in 20 words." });
  });

  it.each(eras)("asks once, and names what the form left out (%s)", async (era) => {
    await put("greet", greet);
    const { call, questions } = await connect({ era, elicit: () => ({ action: "accept", content: { tone: "curt" } }) });
    const result = await call("render_template", { name: "greet" });
    const text = expect.stringMatching(/Set "variables.who" \(string: The person to greet\) or files\.\nAsk the user/);
    expect(result).toMatchObject({ isError: true, content: [{ text }] });
    expect(questions).toHaveLength(1);
  });

  it("refuses an answer that isn't allowed, and a user who declines", async () => {
    await put("greet", greet);
    const { call } = await connect({ elicit: () => ({ action: "accept", content: { tone: "crut", who: "Bob" } }) });
    expect(await call("render_template", { name: "greet" })).toMatchObject({ isError: true });
    await connection.close();
    const second = await connect({ elicit: () => ({ action: "decline" }) });
    const declined = await second.call("render_template", { name: "greet" });
    expect(declined).toMatchObject({ isError: true, content: [{ text: expect.stringContaining("declined") }] });
  });

  it("names what is missing with its description where the client can't ask", async () => {
    await put("greet", greet);
    const { call } = await connect();
    const result = await call("render_template", { name: "greet", variables: { tone: "warm" } });
    expect(result).toMatchObject({
      isError: true,
      content: [{ text: expect.stringContaining('Set "variables.who" (string: The person to greet) or files.') }],
    });
  });

  it.each([
    [{ name: "gret" }, 'no template "gret"'],
    [{ name: "greet", variables: { whom: "x" } }, 'template greet has no variable "whom", did you mean "who"?'],
    [{ name: "greet", variables: { who: "x", tone: "wram" } }, 'did you mean "warm"?'],
    [{ name: "greet", variables: { who: ["x"], tone: "warm" } }, '"variables.who" must be'],
  ])("refuses %j", async (input, message) => {
    await put("greet", greet);
    const { call } = await connect();
    const result = await call("render_template", input);
    expect(result).toMatchObject({ isError: true, content: [{ text: expect.stringContaining(message) }] });
  });
});

describe("list_templates", () => {
  it("lists matching templates with their variables and what they hide, and invalid files", async () => {
    await put("greet", greet);
    await put("translate", "description: My own greeting.\ntemplate: x");
    await put("broken", "template: [x]");
    const { call } = await connect();
    const result = await call("list_templates", { query: "GREET" });
    expect(result.structuredContent).toEqual({
      templates: [
        { name: "greet", description: "Greets.", variables: ["who", "tone", "words?"], source: "user" },
        { name: "translate", description: "My own greeting.", source: "user", hides: "built-in" },
      ],
      problems: [expect.stringContaining('broken.yaml:1: template must be a string, got ["x"]')],
    });
    expect(result.content).toMatchObject([
      {
        text: expect.stringMatching(
          /^greet \(who, tone, words\?\): Greets\. \[user\]\ntranslate: My own greeting\. \[user, hides the built-in one\]\n.*broken\.yaml:1/,
        ),
      },
    ]);
    const none = await call("list_templates", { query: "no such thing" });
    expect(none.content).toMatchObject([{ text: expect.stringContaining("No template matches.") }]);
  });
});

describe("create_template", () => {
  it("saves a template for immediate use, and overwrites one only if requested", async () => {
    const { call } = await connect();
    const variables = [{ name: "topic", default: 5 }];
    const input = { name: "haiku", template: "A haiku about {topic}.", variables, top_p: 0.9, max_tokens: 90 };
    const created = await call("create_template", input);
    const file = join(home, "templates", "haiku.yaml");
    expect(created.structuredContent).toEqual({ name: "haiku", file, variables: ["topic"] });
    expect(created.content).toEqual([{ type: "text", text: `Saved template haiku in ${file}\nVariables: topic` }]);
    const rendered = await call("render_template", { name: "haiku" });
    expect(rendered.structuredContent).toEqual({ text: "A haiku about 5." });
    const again = await call("create_template", { ...input, template: "Other: {topic}" });
    expect(again).toMatchObject({
      isError: true,
      content: [{ text: expect.stringContaining("set overwrite to true") }],
    });
    const text = await readFile(file, "utf8");
    expect(text).toContain("A haiku about {topic}.");
    expect(text).toContain("options:\n  topP: 0.9\n  maxTokens: 90\n");
    await call("create_template", { ...input, template: "Other: {topic}", overwrite: true });
    expect(await readFile(file, "utf8")).toContain("Other: {topic}");
  });

  it("lists the variables that it found, also those of the system prompt, or reports that there are none", async () => {
    const { call } = await connect();
    const found = await call("create_template", { name: "a", template: "{x} {{{y}}} {z:1}", system: "Be {tone}." });
    expect(found.structuredContent).toMatchObject({ variables: ["x", "y", "z", "tone"] });
    expect(found.content).toMatchObject([{ text: expect.stringMatching(/\nVariables: x, y, z, tone$/) }]);
    const none = await call("create_template", { name: "b", template: "Nothing." });
    expect(none.content).toMatchObject([{ text: expect.stringMatching(/\nIt has no variables\.$/) }]);
  });

  it.each([
    [{ template: "A haiku about {{topic}}." }, "{{topic}} in line 1 of template is not a variable\nWrite {topic}"],
    [{ template: "x\n{{ topic }}" }, "{{ topic }} in line 2 of template is not a variable\nWrite {topic}"],
    [{ template: "x", system: "Be {{tone}}." }, "{{tone}} in line 1 of system is not a variable\nWrite {tone}"],
  ])("refuses %j, which other programs take for a variable", async (input, message) => {
    const { call } = await connect();
    const result = await call("create_template", { name: "haiku", ...input });
    expect(result).toMatchObject({ isError: true, content: [{ text: expect.stringContaining(message) }] });
    expect(await readdir(join(home, "templates"))).toEqual([]);
  });

  it("keeps {{topic}} in existing files as the text {topic}", async () => {
    await put("old", "template: 'Say {{topic}} of {who}.'");
    const { call } = await connect();
    const { structuredContent } = await call("render_template", { name: "old", variables: { who: "me" } });
    expect(structuredContent).toEqual({ text: "Say {topic} of me." });
  });

  it.each([
    ["code", "const a = {{b: 1}};"],
    ["JSON", '{{"a": {{"b": 1}}}}'],
    ["braces around a variable", "{{{a}}}"],
  ])("takes doubled braces of %s", async (_, template) => {
    const { call } = await connect();
    expect(await call("create_template", { name: "x", template })).not.toHaveProperty("isError", true);
  });

  it("names the template that it hides", async () => {
    const { call } = await connect();
    const created = await call("create_template", { name: "translate", template: "x" });
    expect(created.content).toMatchObject([{ text: expect.stringContaining("hiding the built-in one") }]);
  });

  it.each([
    [{ name: "../x", template: "x" }, "is not a valid name"],
    [{ name: "x", template: "{a:1}{a:2}" }, "has two defaults"],
    [{ name: "x", template: "x", scope: "project" }, "scope project needs a project"],
    [{ name: "x", template: "x", temperature: 9 }, "options.temperature must be at most 2"],
    [{ name: "x" }, '"template" is required'],
  ])("refuses %j", async (input, message) => {
    const { call } = await connect();
    const result = await call("create_template", input);
    expect(result).toMatchObject({ isError: true, content: [{ text: expect.stringContaining(message) }] });
  });
});

describe("delete_template", () => {
  it("deletes after the user agreed, or with confirm, and says which template is used again", async () => {
    await put("translate", "template: mine");
    await put("own", "template: mine");
    const { call, questions } = await connect({ elicit: () => ({ action: "accept", content: { confirm: true } }) });
    const deleted = await call("delete_template", { name: "translate" });
    expect(questions).toEqual(["Delete template translate?"]);
    expect(deleted.content).toMatchObject([{ text: expect.stringContaining("the built-in one is used again") }]);
    await call("delete_template", { name: "own", confirm: true });
    expect(questions).toHaveLength(1);
    expect(await readdir(join(home, "templates"))).toEqual([]);
  });

  it("deletes nothing without an answer, and no built-in template", async () => {
    await put("own", "template: mine");
    const { call } = await connect();
    const unconfirmed = await call("delete_template", { name: "own" });
    expect(unconfirmed).toMatchObject({
      isError: true,
      content: [{ text: expect.stringContaining("Delete template own?") }],
    });
    expect(await readdir(join(home, "templates"))).toEqual(["own.yaml"]);
    const builtIn = await call("delete_template", { name: "translate", confirm: true });
    expect(builtIn).toMatchObject({ isError: true, content: [{ text: expect.stringContaining("is built in") }] });
  });
});

describe("ollm://templates/{name}", () => {
  it("contains all of one template, is listed, and completes names", async () => {
    await put("greet", greet);
    const { client } = await connect();
    const { contents } = await client.readResource({ uri: "ollm://templates/greet" });
    const [content] = contents;
    expect(JSON.parse(content !== undefined && "text" in content ? content.text : "")).toMatchObject({
      name: "greet",
      system: "Be {tone}.",
      source: "user",
      variables: [
        { name: "who", type: "string", required: true, description: "The person to greet." },
        { name: "tone", enum: ["warm", "curt"] },
        { name: "words", type: "number", required: false, default: "20" },
      ],
    });
    const uris = (await client.listResources()).resources.map(({ uri }) => uri);
    expect(uris).toEqual(expect.arrayContaining(["ollm://templates/greet", "ollm://templates/translate"]));
    const ref = { type: "ref/resource", uri: "ollm://templates/{name}" } as const;
    const { completion } = await client.complete({ ref, argument: { name: "name", value: "transl" } });
    expect(completion.values).toEqual(["translate"]);
    await expect(client.readResource({ uri: "ollm://templates/gone" })).rejects.toMatchObject({ code: -32602 });
  });
});
