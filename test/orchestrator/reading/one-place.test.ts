import { describe, expect, it } from "vitest";
import { GenerationFailed } from "../../../src/orchestrator/api/errors.ts";
import type { GenerateRequest } from "../../../src/orchestrator/api/facade.ts";
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
    expect(answer.text).toBe(
      `The server listens on port 7411. [quoted, guide.md:${line}: The server listens on port 7411.]`,
    );
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
