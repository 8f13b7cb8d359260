import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { CallerProject } from "../../../src/orchestrator/api/types.ts";
import { callerSettingsFrom } from "../../../src/orchestrator/config/load.ts";
import { settingsSchema } from "../../../src/orchestrator/config/schema.ts";

let home: string;
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), "ollm-caller-project-"));
});
afterEach(() => rm(home, { recursive: true, force: true }));

const project: CallerProject = {
  folder: "/p",
  evidence: [],
  isTrusted: true,
  notes: [],
  file: "/p/.ollm/project.yaml",
  settings: {
    model: "of-project",
    systemPrompt: "Be brief.",
    routing: { defaultProfile: "code" },
    tools: { disabled: ["compare"] },
  },
};
const settingsUnder = async (
  environment: Record<string, string>,
  flags: { model?: string } = {},
  own?: CallerProject,
) =>
  (
    await callerSettingsFrom({
      home,
      environment,
      flags,
      daemon: settingsSchema.parse({}),
      ...(own && { project: own }),
    })
  ).settings;

it("a project's settings override the home's, variables override the project's, and flags the variables", async () => {
  await writeFile(path.join(home, "config.yaml"), "model: {default: of-home, routing: {defaultProfile: fast}}\n");
  expect((await settingsUnder({})).model.default).toBe("of-home");
  expect(await settingsUnder({}, {}, project)).toMatchObject({
    model: { default: "of-project", routing: { defaultProfile: "code" } },
    systemPrompt: "Be brief.",
  });
  const environment = { OLLM_MODEL: "of-variable", OLLM_MODEL_ROUTING_DEFAULT_PROFILE: "creative" };
  expect(await settingsUnder(environment, {}, project)).toMatchObject({
    model: { default: "of-variable", routing: { defaultProfile: "creative" } },
  });
  expect((await settingsUnder(environment, { model: "of-flag" }, project)).model.default).toBe("of-flag");
});

it("the model is the project's unless a variable or flag names another", async () => {
  await writeFile(path.join(home, "config.yaml"), "model: {default: of-home}\n");
  expect((await settingsUnder({}, {}, project)).isProjectModel).toBe(true);
  expect((await settingsUnder({})).isProjectModel).toBeUndefined();
  expect((await settingsUnder({ OLLM_MODEL: "of-variable" }, {}, project)).isProjectModel).toBeUndefined();
  expect((await settingsUnder({}, { model: "of-flag" }, project)).isProjectModel).toBeUndefined();
});

it("a project's tools are not part of the settings: they only hide", async () => {
  expect((await settingsUnder({}, {}, project)).tools).toEqual({ sets: ["default"], disabled: [] });
});

it("a project's profiles override the home's field by field, and are the default only once they exist", async () => {
  await writeFile(
    path.join(home, "config.yaml"),
    "profiles: {legal: {temperature: 0.5, maxTokens: 9}, text: {temperature: 0}}\n",
  );
  const routing = { defaultProfile: "ours" };
  const profiles = { legal: { temperature: 0.1 }, ours: { extends: "legal" } };
  const approved = await settingsUnder({}, {}, { ...project, settings: { routing, profiles } });
  expect(approved.profiles).toEqual({
    legal: { temperature: 0.1, maxTokens: 9 },
    text: { temperature: 0 },
    ours: { extends: "legal" },
  });
  expect(approved.model.routing.defaultProfile).toBe("ours");
  const waiting = await settingsUnder({}, {}, { ...project, settings: { routing } });
  expect(waiting.model.routing.defaultProfile).toBe("general");
  const variable = { OLLM_PROFILES: '{"legal": {"maxTokens": 1}}' };
  expect((await settingsUnder(variable, {}, project)).profiles).toEqual({ legal: { maxTokens: 1 } });
});
