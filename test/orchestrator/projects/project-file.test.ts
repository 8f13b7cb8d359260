import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { profileNames } from "../../../src/orchestrator/config/profiles.ts";
import { readProjectFile } from "../../../src/orchestrator/projects/project-file.ts";

const file = "/p/.ollm/project.yaml";
const read = (text: string) => readProjectFile(file, text, profileNames());

describe("a project file", () => {
  it("sets the published keys, each with its line", async () => {
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
    // A kind says what the project is, not that every prompt is about it.
    ["typescript", {}],
    ["documentation", {}],
    ["creative", { routing: { defaultProfile: "creative" } }],
  ])("of profile %s has the default profile %j", async (profile, routed) => {
    expect((await read(`profile: ${profile}`)).settings).toEqual({ profile, ...routed });
  });

  it.each([
    ["model: 5", `${file}:1: model must be text; it is ignored`],
    ["model: {default: a}", `${file}:1: model must be text; it is ignored`],
    ["model: ''", `${file}:1: model is empty; it is ignored`],
    ["systemPrompt: [a]", `${file}:1: systemPrompt must be text; it is ignored`],
    ["tools: [a]", `${file}:1: tools must be a section with keys; it is ignored`],
    ["tools: {disabled: a}", `${file}:1: tools.disabled must be a list of names; it is ignored`],
    ["tools: {disabled: [{}]}", `${file}:1: tools.disabled [0] must be text; it is ignored`],
    ["routing: 5", `${file}:1: routing must be a section with keys; it is ignored`],
    ["routing: {enabled: false}", `${file}:1: routing.enabled is not a key of a project file`],
    ["profile: pythn", `${file}:1: profile is pythn, did you mean python?; it is ignored`],
    ["profiles: 5", `${file}:1: profiles must be a section with keys; it is ignored`],
    ["profiles: {p: {system: 5}}", `${file}:1: profiles.p [system] must be text; it is ignored`],
    ["profiles: {p: {temperature: 9}}", `${file}:1: profiles.p [temperature]`],
    ["profiles: {p: {privacy: x}}", `${file}:1: profiles.p Unrecognized key`],
    ["profiles: {'a b': {}}", `${file}:1: "profiles.a b" is not a name`],
    ["modle: x", `${file}:1: modle is not a key of a project file, did you mean model?; it is ignored`],
    ["files: {roots: [/]}", `${file}:1: files.roots can only be set by the user, not by a project; it is ignored`],
    ["privacy: allow_remote", `${file}:1: privacy can only be set by the user, not by a project; it is ignored`],
    ["network: {allowedHosts: [x]}", `${file}:1: network.allowedHosts can only be set by the user`],
    ["providers: {ollama: {host: x}}", `${file}:1: providers.ollama.host can only be set by the user`],
    ["memory: {availableBytes: 1}", `${file}:1: memory.availableBytes can only be set by the user`],
    ["http: {allowedOrigins: ['*']}", `${file}:1: http.allowedOrigins can only be set by the user`],
    ['"\\e[2J": x', `${file}:1: "\\u001b[2J" is not a key of a project file`],
  ])("ignores %s with a note, and keeps the rest", async (line, note) => {
    const { settings, notes } = await read(
      `${line}\nsystemPrompt: ok\n`.replace(/^(systemPrompt: .*\n)systemPrompt.*\n/, "$1model: ok\n"),
    );
    expect(notes).toEqual([expect.stringContaining(note)]);
    expect(Object.values(settings)).toContain("ok");
  });

  it.each([
    ["broken", "a: [", ":"],
    ["a list", "- a", 'expected lines such as "profile: typescript"'],
    ["huge", `systemPrompt: ${"x".repeat(70_000)}`, "is larger than 65536 bytes"],
    [
      "a bomb",
      `a: &a [x]\nb: &b [${"*a,".repeat(99)}]\nc: &c [${"*b,".repeat(99)}]\nd: [${"*c,".repeat(99)}]`,
      "too many aliases",
    ],
    ["deep", "[".repeat(10_000), "nests deeper"],
    ["prototype", "__proto__: {model: x}", "not a scalar"],
  ])("that is %s sets nothing and gives the reason", async (_what, text, reason) => {
    const { settings, notes } = await read(text);
    expect(settings).toEqual({});
    expect(notes).toHaveLength(1);
    expect(notes[0]).toContain(reason);
    expect(notes[0]).toContain("the file is not used");
  });

  it("that is empty sets nothing and has no notes", async () => {
    for (const text of ["", "# profile: python\n", "profile:\n"]) {
      expect(await read(text)).toMatchObject({ settings: {}, notes: [] });
    }
  });

  it("names at most twenty invalid keys", async () => {
    const { notes } = await read(Array.from({ length: 500 }, (_each, index) => `k${index}: 1`).join("\n"));
    expect(notes).toHaveLength(21);
    expect(notes.at(-1)).toBe(`${file}: 480 more keys are ignored`);
  });

  it("is ignored as a whole when it has too many keys", async () => {
    const { settings, notes } = await read(`profile: python\n${"k:\n".repeat(5_000)}`);
    expect(settings).toEqual({});
    expect(notes).toEqual([expect.stringMatching(/has more than 4000 parts .*; the file is not used$/)]);
  });

  it("never throws and never sets other than its six keys, whatever its text", async () => {
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
