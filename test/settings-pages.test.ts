import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { exampleYaml, settingsJsonSchema, settingsPage } from "../scripts/settings-pages.ts";
import { parseConfigText } from "../src/orchestrator/config/load.ts";
import { type Sources, at, formatPath, settingPaths } from "../src/orchestrator/config/paths.ts";
import { parseSettings } from "../src/orchestrator/config/problems.ts";
import { settingsSchema } from "../src/orchestrator/config/schema.ts";

const read = (name: string) => readFile(new URL(`../${name}`, import.meta.url), "utf8");
const load = async (text: string) => {
  const sources: Sources = new Map();
  const tree = await parseConfigText(text, "config.yaml", sources);
  return { tree, settings: parseSettings(tree, sources, "config.yaml") };
};

describe("pages written from the schema (vitest -u writes them)", () => {
  it("schemas/settings.schema.json", () =>
    expect(settingsJsonSchema()).toMatchFileSnapshot("../schemas/settings.schema.json"));
  it("config.example.yaml", () => expect(exampleYaml()).toMatchFileSnapshot("../config.example.yaml"));
  it("docs/settings.md", () => expect(settingsPage()).toMatchFileSnapshot("../docs/settings.md"));
});

describe("config.example.yaml", () => {
  it("changes nothing as it is", async () => {
    expect((await load(await read("config.example.yaml"))).settings).toEqual(settingsSchema.parse({}));
  });

  it("is right with every option switched on, and none is missing", async () => {
    const text = (await read("config.example.yaml")).replaceAll(/^( *)#(?=\w| {2})/gm, "$1");
    const { tree, settings } = await load(text);
    const defaults = settingsSchema.parse({});
    for (const { path, type } of settingPaths(settingsSchema)) {
      const name = formatPath(path);
      expect([name, at(tree, path)]).not.toEqual([name, undefined]);
      const fallback = at(defaults, path);
      const isEmpty = fallback === undefined || type.endsWith("ist") || type === "record";
      if (!isEmpty) expect([name, at(settings, path)]).toEqual([name, fallback]);
    }
  });
});

describe("schemas/settings.schema.json", () => {
  it("is what the example names, and explains every setting", async () => {
    expect(await read("config.example.yaml")).toMatch(
      /^# yaml-language-server: \$schema=\.\/schemas\/settings\.schema\.json\n/,
    );
    interface Node {
      readonly description?: string;
      readonly properties?: Readonly<Record<string, Node>>;
      readonly additionalProperties?: unknown;
    }
    const schema = JSON.parse(await read("schemas/settings.schema.json")) as Node;
    for (const { path } of settingPaths(settingsSchema)) {
      const node = path.reduce<Node | undefined>((parent, key) => parent?.properties?.[key], schema);
      expect([formatPath(path), node?.description ?? ""]).not.toEqual([formatPath(path), ""]);
    }
    expect(schema.additionalProperties).toBe(false);
  });
});
