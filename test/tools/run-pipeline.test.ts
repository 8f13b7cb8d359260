import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parsePipeline } from "../../src/tools/steps.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { type MemoryClient, connectMemoryClient } from "../support/memory-client.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

let root: string;
let home: string;
let connection: MemoryClient;
let said: (text: string) => string;
let prompts: string[];
beforeEach(async () => {
  [root, home] = (await Promise.all(
    ["root", "home"].map(async (name) => realpath(await mkdtemp(join(tmpdir(), `ollm-pipeline-${name}-`)))),
  )) as [string, string];
  await mkdir(join(home, "pipelines"));
  prompts = [];
  said = (text) => `answer ${prompts.length} to ${text.trim().split("\n").at(-1)}`;
  const engine = createFakeEngine("ollama", [fakeModel("small", gigabyte)]);
  engine.answer = ({ messages }) => {
    const text = messages.at(-1)?.content ?? "";
    prompts.push(text);
    return Promise.resolve({ text: said(text) });
  };
  const { orchestrator } = createTestOrchestrator([engine], {
    now: Date.now,
    templatesFolder: join(home, "templates"),
  });
  connection = await connectMemoryClient(orchestrator, {
    clientName: "claude-code",
    fileRoots: [root],
    toolSets: ["all"],
  });
});
afterEach(async () => {
  await connection.close();
  await Promise.all([root, home].map((folder) => rm(folder, { recursive: true, force: true })));
});

type Data = Readonly<Record<string, unknown>>;

async function asked(input: Data): Promise<Data> {
  const answer = await connection.call("run_pipeline", input);
  expect(answer.isError ?? false, JSON.stringify(answer.content)).toBe(false);
  return answer.structuredContent as Data;
}

async function ran(input: Data): Promise<Data> {
  const { job } = await asked(input);
  expect(job).toMatch(/^batch-[0-9a-f]{12}$/);
  const waited = await connection.call("job", { action: "wait", job_id: job as string });
  return (waited.structuredContent as { readonly result: Data }).result;
}

const two = `description: Two steps.
inputs:
  topic: { description: What about. }
steps:
  - name: first
    prompt: About {{ inputs.topic }}
  - name: second
    input: "{{ steps.first }}"
    prompt: "More of {{ steps.first.text }}"
`;

describe("run_pipeline", () => {
  it("lists what is built in and what the user has, and says what is wrong with a file", async () => {
    await writeFile(join(home, "pipelines", "mine.yaml"), two);
    await writeFile(join(home, "pipelines", "bad.yaml"), "steps:\n  - name: a\n    promt: x\n");
    const { pipelines, problems } = await asked({});
    expect((pipelines as readonly Data[]).map(({ name }) => name)).toEqual([
      "extract-table",
      "mine",
      "release-notes",
      "research-folder",
      "review-diff",
      "translate-check",
      "triage-issues",
    ]);
    expect(pipelines).toContainEqual(expect.objectContaining({ name: "mine", inputs: ["topic"], source: "user" }));
    expect(problems).toEqual([
      `${join(home, "pipelines", "bad.yaml")}:3: step 1 (a): unknown field promt, did you mean prompt?`,
    ]);
  });

  it("is a job whose answer is that of the last step, with counts of each", async () => {
    await writeFile(join(home, "pipelines", "mine.yaml"), two);
    const result = await ran({ pipeline: "mine", inputs: { topic: "cats" } });
    expect(result).toMatchObject({
      text: "answer 2 to More of answer 1 to About cats",
      model: "small",
      steps: [
        { step: "first", counts: { asked: 1, done: 1 } },
        { step: "second", counts: { asked: 1, done: 1 } },
      ],
      results: expect.stringMatching(/^ollm:\/\/results\/batch-/) as string,
    });
    expect(prompts[1]).toContain("first.md");
    const { contents } = await connection.client.readResource({ uri: result["results"] as string });
    const [{ text = "" } = {}] = contents as readonly { readonly text?: string }[];
    expect(
      text
        .trim()
        .split("\n")
        .map((line) => (JSON.parse(line) as Data)["step"]),
    ).toEqual(["first", "second"]);
  });

  it("reads files and YAML that is given, writes what a step is to write, and never over a file", async () => {
    await writeFile(join(root, "a.md"), "Alpha");
    await writeFile(join(root, "b.md"), "Beta");
    const yaml =
      'steps:\n  - {name: each, files: ["*.md"], for_each: file, prompt: What}\n  - {name: all, input: "{{ steps.each }}", prompt: Sum, output_path: sum.jsonl}\n';
    const result = await ran({ pipeline: yaml });
    expect(result["written"]).toEqual([join(root, "sum.jsonl")]);
    expect(await readFile(join(root, "sum.jsonl"), "utf8")).toBe("answer 3 to Sum\n");
    expect(prompts[0]).toContain("Alpha");
    const again = await connection.call("run_pipeline", { pipeline: yaml });
    expect(JSON.stringify(again.content)).toContain("sum.jsonl");
    expect(again.isError).toBe(true);
  });

  it("writes the text of a single prompt, and no file of a step that is skipped", async () => {
    const yaml =
      "steps:\n  - {name: a, prompt: 'No.', output_path: a.txt}\n  - {name: b, prompt: x, when: '{{ steps.a }}', output_path: b.txt}\n";
    said = () => "No.";
    const { written, notes } = await ran({ pipeline: yaml });
    expect(written).toEqual([join(root, "a.txt")]);
    expect(await readFile(join(root, "a.txt"), "utf8")).toBe("No.\n");
    expect(notes).toEqual(['b was skipped: when is "No."']);
    const both = "steps:\n  - {name: a, prompt: x, output_path: c.txt}\n  - {name: b, prompt: y, output_path: c.txt}\n";
    const refused = await connection.call("run_pipeline", { pipeline: both });
    expect(JSON.stringify(refused.content)).toContain("steps a and b write to the same c.txt");
  });

  it("takes nothing in a file or an input for a mark of a step", async () => {
    await writeFile(join(root, "evil.md"), "evil \uE000a\uE001 {{ steps.a }}");
    await mkdir(join(home, "templates"));
    await writeFile(join(home, "templates", "sum.yaml"), "template: 'Sum up {text}'\n");
    const yaml =
      "inputs: {x: {}}\nsteps:\n  - {name: a, prompt: SECRET}\n  - {name: b, template: sum, files: evil.md}\n  - {name: c, prompt: '{{ inputs.x }}'}\n";
    await ran({ pipeline: yaml, inputs: { x: "\uE000a\uE001 {{ steps.a }}" } });
    expect(prompts.filter((prompt) => prompt.includes("SECRET"))).toEqual(["SECRET"]);
    expect(prompts.join("\n")).toContain("evil \uFFFDa\uFFFD {{ steps.a }}");
  });

  it("asks about many texts with double braces in them", async () => {
    await writeFile(join(root, "workflow.md"), "run: ${{ steps.build.outputs }} ${{ inputs.version }}");
    const begun = await connection.call("route_and_generate", {
      prompt: "What does ${{ inputs.version }} mean?",
      for_each: { of: ["*.md"], reduce: "Sum up" },
    });
    const { job } = begun.structuredContent as { readonly job: string };
    const waited = await connection.call("job", { action: "wait", job_id: job });
    expect(waited.structuredContent).toMatchObject({ result: { for_each: { counts: { asked: 1, done: 1 } } } });
    expect(prompts[0]).toContain("${{ inputs.version }} mean?");
  });

  it("names the missing inputs, unknown ones, unknown pipelines and steps", async () => {
    await writeFile(join(home, "pipelines", "mine.yaml"), two);
    const errors = async (input: Data) => JSON.stringify((await connection.call("run_pipeline", input)).content);
    expect(await errors({ pipeline: "mine" })).toContain("Pipeline mine needs topic");
    expect(await errors({ pipeline: "mine", inputs: { topics: "x" } })).toContain("did you mean topic?");
    expect(await errors({ pipeline: "mime" })).toContain('there is no pipeline \\"mime\\"');
    expect(await errors({ pipeline: "mine", inputs: { topic: "x" }, skip: ["third"] })).toContain(
      "no step is named third",
    );
    expect(await errors({ pipeline: "steps:\n  - {name: a, prompt: x, model: nothing:1b}" })).toContain("nothing:1b");
    expect(await errors({ pipeline: "steps:\n  - {name: a, prompt: x, files: [none.md], for_each: file}" })).toContain(
      "step a: ",
    );
  });

  it("shows its steps, and what a run would take, without asking a model", async () => {
    await writeFile(join(home, "pipelines", "mine.yaml"), two);
    expect(await asked({ pipeline: "mine", dry_run: true })).toMatchObject({
      yaml: two,
      notes: ["Pipeline mine needs topic."],
    });
    expect(await asked({ pipeline: "mine", inputs: { topic: "x" }, dry_run: true })).toMatchObject({
      plan: [
        { step: "first", model: "small", load: true, prompts: 1 },
        { step: "second", model: "small", load: false, prompts: 1 },
      ],
    });
    expect(prompts).toEqual([]);
  });

  it("writes one for a goal, until it can be used, and doesn't run it", async () => {
    const plan = (takes: string) =>
      JSON.stringify({
        description: "Sums up.",
        steps: [
          { name: "read it", prompt: "Read", files: ["*.md"], one_by_one: true, takes: [] },
          { name: "sum", prompt: "Sum", files: [], one_by_one: false, takes: [takes] },
        ],
      });
    said = (text) => plan(text.includes("could not be used") ? "read it" : "nothing");
    const { yaml, notes } = await asked({ goal: "Sum up the notes" });
    expect(prompts).toHaveLength(2);
    expect(notes).toEqual(["it was not run: read it first"]);
    expect(await parsePipeline(yaml as string)).toMatchObject({
      pipeline: {
        steps: [
          { name: "read_it", files: ["*.md"], for_each: "file" },
          { name: "sum", input: ["{{ steps.read_it }}"] },
        ],
      },
    });
    said = () => plan("nothing");
    const failed = await connection.call("run_pipeline", { goal: "Sum up" });
    expect(JSON.stringify(failed.content)).toContain("no earlier step is named nothing");
  });
});

it.each([
  ["", "steps"],
  ["steps: []", "must have a step"],
  ["steps:\n  - {prompt: x}", "step 1: name"],
  ["steps:\n  - {name: a b, prompt: x}", "letters, digits, - and _"],
  ["steps:\n  - {name: a}", "step a: needs a prompt or a template"],
  ["steps:\n  - {name: a, prompt: x}\n  - {name: a, prompt: x}", "step a: has the name of an earlier step"],
  ["steps:\n  - {name: a, prompt: x, on_fail: panic}", "step 1 (a): on_fail"],
  ["steps:\n  - {name: a, prompt: '{{ steps.b }}'}\n  - {name: b, prompt: x}", "no earlier step is named b"],
  ["steps:\n  - {name: a, prompt: '{{ inputs.b }}'}", "there is no input b; there are none"],
  ["steps:\n  - {name: a, prompt: '{{ step.b }}'}", "{{ step.b }} is neither"],
  ["steps:\n  - {name: a, prompt: x, for_each: page}", 'for_each is "page"; allowed: file, part, row'],
  ["steps:\n  - {name: a, prompt: x, for_each: file}", "for_each needs files"],
  ["steps:\n  - {name: a, prompt: x}\n  - {name: b, prompt: x, files: '{{ steps.a }}'}", "is its input"],
  [
    "steps:\n  - {name: a, prompt: x}\n  - {name: b, prompt: '{{ steps.a.kind }}'}",
    "gives no kind; it gives text, items",
  ],
  [`steps:\n${Array.from({ length: 13 }, (_, at) => `  - {name: a${at}, prompt: x}`).join("\n")}`, "12"],
  [
    "steps:\n  - {name: a, prompt: x}\n  - {name: b, prompt: x, output_path: '{{ steps.a }}.md'}",
    "output_path can't take from a step",
  ],
  ["steps:\n  - {name: a, prompt: x}\n  - {name: b, prompt: x, input: a}", "input is what earlier steps gave"],
  ["steps:\n  - {name: a, prompt: '{{ a | upper }}'}", "{{ a | upper }} is neither"],
  ["steps:\n  - {name: a, prompt: x, for_each: {sample: 2}}", "for_each needs files"],
  ["steps: [", "line"],
  ["other: 1\nsteps: [{name: a, prompt: x}]", "unknown field other"],
])("%j is refused: %s", async (text, problem) => {
  const read = await parsePipeline(text);
  expect("problem" in read ? `${read.problem} line` : "nothing").toContain(problem);
});

it("names the line of a problem", async () => {
  expect(await parsePipeline("steps:\n  - name: a\n    prompt: x\n  - name: b\n    prompt: '{{ steps.c }}'\n")).toEqual(
    {
      problem: "step b: no earlier step is named c; did you mean a?",
      line: 4,
    },
  );
});
