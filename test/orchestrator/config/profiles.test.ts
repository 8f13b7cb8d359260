import { describe, expect, it } from "vitest";
import { taskOf } from "../../../src/orchestrator/api/facade-route.ts";
import { settingsNotes } from "../../../src/orchestrator/config/problems.ts";
import { settingsSchema } from "../../../src/orchestrator/config/schema.ts";
import { findProfile, profileForTask, profileNames } from "../../../src/orchestrator/config/profiles.ts";
import { isOfProfile } from "../../../src/orchestrator/routing/candidate.ts";
import { builtInTemplates } from "../../../src/orchestrator/templates/parse-file.ts";
import { candidate } from "../routing/candidates.ts";

it("the profile for reasoning replaces the general one, and no other", () => {
  expect(profileForTask("reasoning", "general")).toBe("reasoning");
  expect(profileForTask("reasoning", "typescript")).toBe("typescript");
});

describe("the published profiles", () => {
  it("are exactly these", () => {
    const names = ["fast", "general", "code", "creative"];
    expect(profileNames().slice(0, 4)).toEqual(names);
    expect(Object.fromEntries(names.map((name) => [name, findProfile(name)]))).toEqual({
      fast: {
        name: "fast",
        families: ["phi", "gemma", "mistral"],
        contextTokens: 4096,
        fallback: "general",
        requires: ["streaming"],
      },
      general: {
        name: "general",
        families: ["llama", "mistral", "qwen"],
        contextTokens: 8192,
        requires: ["streaming"],
      },
      code: {
        name: "code",
        families: ["codellama", "deepseek-coder", "starcoder"],
        contextTokens: 16384,
        fallback: "general",
        requires: ["streaming"],
      },
      creative: {
        name: "creative",
        families: ["llama", "mistral"],
        contextTokens: 8192,
        fallback: "general",
        requires: ["streaming"],
      },
    });
  });

  it("are found by name, and nothing else is", () => {
    expect(findProfile("code")?.name).toBe("code");
    expect(findProfile("constructor")).toBeUndefined();
  });

  it.each([
    ["code", "code"],
    ["creative", "creative"],
    ["fast", "fast"],
    ["general", "creative"],
    ["vision", "creative"],
    ["embedding", "creative"],
    ["reasoning", "creative"],
  ] as const)("task %s uses %s when creative is the default profile", (task, profile) => {
    expect(profileForTask(task, "creative")).toBe(profile);
  });
});

describe("a profile of the settings", () => {
  it("keeps the values of a built-in one that it does not set", () => {
    const code = findProfile("code", { code: { temperature: 0 } });
    expect(code).toEqual({ ...findProfile("code"), temperature: 0 });
  });

  it("takes from the profile that it extends, whose models match it, too", () => {
    const custom = { mine: { extends: "sql", temperature: 0 }, sql: { extends: "code", maxTokens: 5, system: "SQL." } };
    expect(findProfile("mine", custom)).toEqual({
      ...findProfile("code"),
      name: "mine",
      base: "code",
      temperature: 0,
      maxTokens: 5,
      system: "SQL.",
    });
    expect(profileForTask("code", "mine", custom)).toBe("mine");
    expect(profileForTask("creative", "mine", custom)).toBe("creative");
  });

  it.each([
    [{ families: ["phi"] }, ["phi4-mini:3.8b"]],
    [{ families: [] }, ["phi4-mini:3.8b", "mistral:latest", "gemma3:4b", "codellama:7b"]],
    [{ models: ["mistral"] }, ["mistral:latest"]],
    [{ needs: ["vision"] }, ["gemma3:4b"]],
    [{ extends: "code" }, ["codellama:7b"]],
    [{ temperature: 0 }, ["phi4-mini:3.8b", "mistral:latest", "gemma3:4b"]],
    [{ extends: "nothing" }, ["phi4-mini:3.8b", "mistral:latest", "gemma3:4b"]],
  ] as const)("%j is for %j", (settings, matching) => {
    const profile = findProfile("mine", { mine: settings });
    const names = ["phi4-mini:3.8b", "mistral:latest", "gemma3:4b", "codellama:7b"];
    expect(names.filter((name) => profile !== undefined && isOfProfile(candidate(name), profile))).toEqual(matching);
  });

  it("that extends itself by way of others is found all the same", () => {
    const custom = { a: { extends: "b", temperature: 0 }, b: { extends: "a", maxTokens: 5 } };
    expect(findProfile("a", custom)).toMatchObject({ name: "a", temperature: 0, maxTokens: 5 });
    expect(settingsNotes(settingsSchema.parse({ profiles: custom }), new Map())).toEqual([
      "profiles.a extends itself, so its extends is not used",
      "profiles.b extends itself, so its extends is not used",
    ]);
  });

  it("gets a note for each profile that it names and that does not exist", () => {
    const settings = settingsSchema.parse({ profiles: { a: { extends: "vison", fallback: "texd" } } });
    expect(settingsNotes(settings, new Map())).toEqual([
      "profiles.a.extends names vison, which is not a profile; did you mean vision?",
      "profiles.a.fallback names texd, which is not a profile; did you mean text?",
    ]);
  });
});

describe("every built-in profile", () => {
  it.each(profileNames().map((name) => [name]))("%s has what it refers to", (name) => {
    const profile = findProfile(name);
    const { fallback, base, templates = [] } = profile ?? {};
    for (const other of [fallback, base]) if (typeof other === "string") expect(profileNames()).toContain(other);
    const known = builtInTemplates().map((template) => template.name);
    expect(known).toEqual(expect.arrayContaining([...templates]));
  });
});

it("the task of a name is that of its alias", () => {
  expect(["coding", "code_generation", "creative_writing", "reasoning", "cooking"].map(taskOf)).toEqual([
    "code",
    "code",
    "creative",
    "reasoning",
    undefined,
  ]);
});
