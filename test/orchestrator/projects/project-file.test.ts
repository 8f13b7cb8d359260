import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readProjectFile } from "../../../src/orchestrator/projects/project-file.ts";

const file = "/p/.ollm/project.yaml";
const read = (text: string) => readProjectFile(file, text, ["fast", "general", "code", "creative"]);

describe("a project file", () => {
  it("says what the published keys say, each with its line", async () => {
    const text = [
      "profile: typescript",
      "model: qwen2.5-coder:7b",
      "systemPrompt: |",
      "  Be brief.",
      "tools:",
      "  enabled: [route_and_generate]",
      "  disabled: []",
      "routing:",
      "  defaultProfile: fast",
    ].join("\n");
    expect(await read(text)).toEqual({
      settings: {
        profile: "typescript",
        model: "qwen2.5-coder:7b",
        systemPrompt: "Be brief.",
        tools: { enabled: ["route_and_generate"], disabled: [] },
        routing: { defaultProfile: "fast" },
      },
      sources: {
        profile: `${file}:1`,
        model: `${file}:2`,
        systemPrompt: `${file}:3`,
        "tools.enabled": `${file}:6`,
        "tools.disabled": `${file}:7`,
        "routing.defaultProfile": `${file}:9`,
      },
      notes: [],
    });
  });

  it.each([
    ["typescript", "code"],
    ["documentation", "general"],
    ["creative", "creative"],
  ])("routes by its profile %s to %s", async (profile, defaultProfile) => {
    expect((await read(`profile: ${profile}`)).settings).toEqual({ profile, routing: { defaultProfile } });
  });

  it.each([
    ["model: 5", `${file}:1: model must be a text; it is ignored`],
    ["model: {default: a}", `${file}:1: model must be a text; it is ignored`],
    ["model: ''", `${file}:1: model is empty; it is ignored`],
    ["systemPrompt: [a]", `${file}:1: systemPrompt must be a text; it is ignored`],
    ["tools: [a]", `${file}:1: tools must have keys of its own; it is ignored`],
    ["tools: {disabled: a}", `${file}:1: tools.disabled must be a list of names; it is ignored`],
    ["tools: {disabled: [{}]}", `${file}:1: tools.disabled [0] must be a text; it is ignored`],
    ["routing: 5", `${file}:1: routing must have keys of its own; it is ignored`],
    ["routing: {enabled: false}", `${file}:1: routing.enabled is no key of a project`],
    ["profile: pythn", `${file}:1: profile is pythn, did you mean python?; it is ignored`],
    ["modle: x", `${file}:1: modle is no key of a project, did you mean model?; it is ignored`],
    ["files: {roots: [/]}", `${file}:1: files.roots is the user's to set, not a project's; it is ignored`],
    ["privacy: allow_remote", `${file}:1: privacy is the user's to set, not a project's; it is ignored`],
    ["network: {allowedHosts: [x]}", `${file}:1: network.allowedHosts is the user's to set`],
    ["providers: {ollama: {host: x}}", `${file}:1: providers.ollama.host is the user's to set`],
    ["memory: {availableBytes: 1}", `${file}:1: memory.availableBytes is the user's to set`],
    ["http: {allowedOrigins: ['*']}", `${file}:1: http.allowedOrigins is the user's to set`],
    ['"\\e[2J": x', `${file}:1: "\\u001b[2J" is no key of a project`],
  ])("names what it ignores of %s, and keeps the rest", async (line, note) => {
    const { settings, notes } = await read(
      `${line}\nsystemPrompt: ok\n`.replace(/^(systemPrompt: .*\n)systemPrompt.*\n/, "$1model: ok\n"),
    );
    expect(notes).toEqual([expect.stringContaining(note)]);
    expect(Object.values(settings)).toContain("ok");
  });

  it.each([
    ["broken", "a: [", ":"],
    ["a list", "- a", 'expected lines like "profile: typescript"'],
    ["huge", `systemPrompt: ${"x".repeat(70_000)}`, "is larger than 65536 bytes"],
    [
      "a bomb",
      `a: &a [x]\nb: &b [${"*a,".repeat(99)}]\nc: &c [${"*b,".repeat(99)}]\nd: [${"*c,".repeat(99)}]`,
      "too many aliases",
    ],
    ["deep", "[".repeat(10_000), "nests deeper"],
    ["prototype", "__proto__: {model: x}", "no plain word"],
  ])("that is %s holds nothing, and says why", async (_what, text, reason) => {
    const { settings, notes } = await read(text);
    expect(settings).toEqual({});
    expect(notes).toHaveLength(1);
    expect(notes[0]).toContain(reason);
    expect(notes[0]).toContain("nothing of the file is used");
  });

  it("that is empty holds nothing, and nothing is wrong", async () => {
    for (const text of ["", "# profile: python\n", "profile:\n"]) {
      expect(await read(text)).toMatchObject({ settings: {}, notes: [] });
    }
  });

  it("names twenty of many wrong keys", async () => {
    const { notes } = await read(Array.from({ length: 500 }, (_each, index) => `k${index}: 1`).join("\n"));
    expect(notes).toHaveLength(21);
    expect(notes.at(-1)).toBe(`${file}: 480 more keys are ignored`);
  });

  it("is refused whole where it has more keys than a person writes", async () => {
    const { settings, notes } = await read(`profile: python\n${"k:\n".repeat(5_000)}`);
    expect(settings).toEqual({});
    expect(notes).toEqual([expect.stringMatching(/has more than 4000 parts .*; nothing of the file is used$/)]);
  });

  it("never throws, and never gives more than its six keys, whatever it says", async () => {
    const keys = ["profile", "model", "systemPrompt", "tools", "routing"];
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(fc.oneof(fc.constantFrom(...keys, "files", "privacy"), fc.string()), fc.jsonValue()),
        async (value) => {
          const { settings } = await read(JSON.stringify(value));
          expect(keys).toEqual(expect.arrayContaining(Object.keys(settings)));
          for (const [key, each] of Object.entries(settings)) {
            if (key !== "tools" && key !== "routing") expect(each).toBeTypeOf("string");
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
