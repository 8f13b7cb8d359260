import { describe, expect, it } from "vitest";
import { GenerationFailed } from "../../../src/orchestrator/api/errors.ts";
import type { GenerateRequest } from "../../../src/orchestrator/api/facade.ts";
import type { EngineEmbedding } from "../../../src/orchestrator/engines/engine.ts";
import type { GenerationRequest } from "../../../src/orchestrator/engines/generation.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

/** Sections of about 400 tokens, of which the third names a port in its first half, and the last is short. */
const text = [
  ...Array.from({ length: 16 }, (_, at) => {
    const port = at === 2 ? "The server listens on port 7411.\n\n" : "";
    return `## ${at + 1} Topic ${at + 1}\n\n${port}${`Words about subject${at + 1}.\n\n`.repeat(60)}`;
  }),
  "## Licence\n\nIt is free: the licence is MIT.\n",
].join("");
const files = [{ path: "guide.md", text }];

const promptOf = ({ messages }: GenerationRequest) => messages.at(-1)?.content ?? "";
const isReading = (request: GenerationRequest) => promptOf(request).endsWith("Notes on this part:");

/** Answers by the port in the prompt; keeps the prompts and what is streamed. */
function world(answer: (request: GenerationRequest) => string | Error) {
  const model = fakeModel("llama3.2:3b", gigabyte, { contextTokens: 2048 });
  const engine = createFakeEngine("ollama", [model]);
  const requests: GenerationRequest[] = [];
  engine.answer = (request) => {
    requests.push(request);
    const said = answer(request);
    return said instanceof Error ? Promise.reject(said) : Promise.resolve({ text: said, completionTokens: 4 });
  };
  const orchestrator = createTestOrchestrator([engine]);
  return { requests, ask: (request: GenerateRequest) => orchestrator.generate({ files, ...request }) };
}

const port = (request: GenerationRequest) => /\b7\d{3}\b/.exec(promptOf(request))?.[0] ?? "NOT IN THESE PARTS";

describe("a question about one place of long files", () => {
  it("is answered with one request from the section that it names, which is named in the answer", async () => {
    const { ask, requests } = world(port);
    const answer = await ask({ prompt: "What is the port in section 3?" });
    expect(answer.text).toBe("7411");
    expect(requests).toHaveLength(1);
    const { total = 0, read = [], share } = answer.parts ?? {};
    expect(read.filter((name) => name.startsWith("guide.md: 3 Topic 3")).length).toBeGreaterThan(1);
    expect(read.length).toBeLessThan(total);
    expect(share).toBeGreaterThan(0.01);
    expect(share).toBeLessThan(0.5);
    expect(answer.parts?.missing).toBeUndefined();
    expect(answer.notes).toEqual([]);
    const [prompt = ""] = requests.map(promptOf);
    expect(prompt).toContain("The server listens on port 7411.");
    expect(prompt.match(/Words about subject3\./g)).toHaveLength(60);
    expect(prompt).not.toContain("subject12");
  });

  it("names the lines of a section that is too long to be read whole", async () => {
    const { ask } = world(() => "its own");
    const long = `## Ports\n\n${"The port of a service is its own.\n".repeat(600)}\n## Other\n\n${"Nothing here.\n".repeat(50)}`;
    const { parts } = await ask({
      prompt: "Which port is the port of the gateway?",
      files: [{ path: "a.md", text: long }],
    });
    const { total = 0, read = [] } = parts ?? {};
    expect(read.length).toBeLessThan(total);
    for (const name of read) expect(name).toMatch(/^a\.md: Ports, lines \d+–\d+$/);
  });

  it("is answered from all parts, and says so, if the passages don't hold the answer", async () => {
    const { ask, requests } = world((request) =>
      isReading(request)
        ? (/licence is (\w+)/.exec(promptOf(request))?.[1] ?? "NOTHING")
        : (/MIT/.exec(promptOf(request))?.[0] ?? "It is not mentioned."),
    );
    const answer = await ask({ prompt: "Who is the owner of subject5 and subject6?" });
    expect(answer.text).toBe("MIT");
    expect(answer.parts).toEqual({ total: requests.filter(isReading).length });
    expect(answer.notes).toContain("the parts that match the question best did not answer it, so all parts were read");
    expect(answer.completionTokens).toBe(4 * requests.length);
  });

  it("is answered from all parts if no word of it is in the text, or if the request with the passages fails", async () => {
    const unmatched = world((request) => (isReading(request) ? "NOTHING" : "unknown"));
    await unmatched.ask({ prompt: "Who invented zippers?" });
    expect(unmatched.requests.every(isReading) || unmatched.requests.findIndex(isReading) === 0).toBe(true);
    const failing = world((request) =>
      isReading(request) || promptOf(request).includes("notes on the parts")
        ? port(request)
        : new GenerationFailed("it crashed"),
    );
    const { text: said, parts } = await failing.ask({ prompt: "What is the port in section 3?" });
    expect(said).toBe("7411");
    expect(parts?.read).toBeUndefined();
  });

  it("reads all parts for a task that needs them, and for a prescribed form", async () => {
    for (const more of [{ prompt: "Summarise the ports." }, { prompt: "What is the port?", format: "json" as const }]) {
      const { ask, requests } = world((request) => (isReading(request) ? port(request) : `{"port":${port(request)}}`));
      const { parts } = await ask(more);
      expect(parts).toEqual({ total: requests.filter(isReading).length });
    }
  });
});

describe("quotes of an answer from long files", () => {
  const prompt = "What is the port in section 3?";

  it("are looked for in the whole files, with their lines, if it comes from one place", async () => {
    const { ask, requests } = world(() => "The server listens on port 7411.");
    const answer = await ask({ prompt, check: "quotes" });
    expect(requests).toHaveLength(1);
    const line = text.slice(0, text.indexOf("The server listens")).split("\n").length;
    expect(answer.text).toBe(`The server listens on port 7411. [quoted, guide.md:${line}]`);
    expect(answer.check).toMatchObject({ statements: [{ status: "quoted" }] });
    expect(answer.check).not.toHaveProperty("problem");
  });

  it("are looked for in the files, not in the notes, if it comes from all parts", async () => {
    const { ask, requests } = world(() => "The server listens on port 7999.");
    const { check, text: marked } = await ask({ prompt: "Summarize the ports.", check: "quotes" });
    expect(requests.filter(isReading).length).toBeGreaterThan(1);
    expect(marked).toContain("The server listens on port 7999. [not found; nearest: guide.md:");
    expect(check).toMatchObject({ statements: [{ status: "not_found" }] });
  });
});

describe("passages by meaning", () => {
  const sections = Array.from(
    { length: 30 },
    (_, at) =>
      `## Topic ${at + 1}\n\n${at === 20 ? "Bello is a poodle.\n\n" : ""}${"The house has walls.\n\n".repeat(60)}`,
  ).join("");
  const isNear = (asked: string) => /dog|poodle/i.test(asked);

  function withEmbeddings(memoryBytes = 32 * gigabyte, trust: "local" | "remote" = "local") {
    const texts: string[] = [];
    const embedding: EngineEmbedding = {
      embed: async (_model, inputs) => {
        texts.push(...inputs);
        return { vectors: inputs.map((each) => (isNear(each) ? [1, 0] : [0, 1])), promptTokens: 1 };
      },
    };
    const prompts: string[] = [];
    const reading = fakeModel("llama3.2:3b", gigabyte, { contextTokens: 2048 });
    const meaning = fakeModel("all-minilm", gigabyte, { capabilities: ["embedding"], trust });
    const engine = createFakeEngine("ollama", [reading, meaning], { embedding });
    engine.answer = (request) => {
      prompts.push(promptOf(request));
      return Promise.resolve({ text: promptOf(request).includes("poodle") ? "Bello" : "NOTHING", completionTokens: 4 });
    };
    const { generate } = createTestOrchestrator([engine], { memoryBytes });
    const ask = () =>
      generate({
        prompt: "What is the name of the dog in the house?",
        files: [{ path: "a.md", text: sections }],
        model: "llama3.2:3b",
      });
    const load = () => generate({ prompt: "Hello", model: "llama3.2:3b" });
    return { ask, load, texts, prompts };
  }

  it("are read where an embedding model finds what no word does", async () => {
    const { ask, prompts, texts } = withEmbeddings();
    const { text: said, parts } = await ask();
    expect(said).toBe("Bello");
    expect(prompts).toHaveLength(1);
    expect(parts?.read?.some((name) => name.startsWith("a.md: Topic 21"))).toBe(true);
    expect(texts.length).toBeGreaterThan(30);
  });

  it("are not asked for where the embedding model is not local, or would unload another one", async () => {
    const remote = withEmbeddings(32 * gigabyte, "remote");
    await remote.ask();
    expect(remote.texts).toEqual([]);
    const full = withEmbeddings(4 * gigabyte);
    await full.load();
    await full.ask();
    expect(full.texts).toEqual([]);
  });
});
