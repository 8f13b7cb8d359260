import { describe, expect, it } from "vitest";
import {
  editText,
  fixedText,
  groupsOf,
  originOf,
  readingOf,
  type Setting,
  shownValue,
  valueOf,
} from "../../src/ui/settings-form.ts";

describe("where a value comes from", () => {
  it.each([
    ["default", { text: "default", isFixed: false, isDefault: true }],
    ["/home/me/.ollm/config.yaml:3", { text: "config.yaml, line 3", isFixed: false, isDefault: false }],
    ["C:\\Users\\me\\.ollm\\config.yaml:12", { text: "config.yaml, line 12", isFixed: false, isDefault: false }],
    ["OLLM_MODEL_DEFAULT", { text: "variable OLLM_MODEL_DEFAULT", isFixed: true, isDefault: false }],
    ["OLLAMA_HOST", { text: "variable OLLAMA_HOST", isFixed: true, isDefault: false }],
    ["--model", { text: "flag --model", isFixed: true, isDefault: false }],
    [
      "/home/me/app/.ollm/project.yaml:2",
      { text: "/home/me/app/.ollm/project.yaml:2", isFixed: true, isDefault: false },
    ],
  ])("%s", (source, origin) => {
    expect(originOf(source)).toEqual(origin);
    if (origin.isFixed) expect(fixedText(source)).toContain(source);
  });
});

describe("a value", () => {
  it.each([
    ["number", 5, "5"],
    ["boolean", false, "false"],
    ["text", "local_only", "local_only"],
    ["list", ["a", "b"], "a\nb"],
    ["list", [], ""],
    ["json", { code: "x" }, '{\n  "code": "x"\n}'],
  ] as const)("of kind %s is edited as text and sent as it was: %j", (kind, value, text) => {
    expect(editText({ kind, value })).toBe(text);
    expect(valueOf(kind, text)).toEqual({ value });
  });

  it("that is unset or secret has an empty field", () => {
    expect(editText({ kind: "text", value: undefined })).toBe("");
    expect(editText({ kind: "text", value: "***" })).toBe("");
  });

  it.each([
    ["number", ""],
    ["number", "many"],
    ["text", "  "],
    ["json", ""],
  ] as const)("of kind %s can't be %j", (kind, text) => {
    expect(valueOf(kind, text)).toHaveProperty("problem");
  });

  it("that no JSON input takes is left to the daemon as text", () => {
    expect(valueOf("json", '[{"id": "kimi"}]')).toEqual({ value: '[{"id": "kimi"}]' });
    expect(valueOf("json", "{code: x}")).toEqual({ value: "{code: x}" });
    expect(valueOf("json", "5")).toEqual({ value: "5" });
    expect(valueOf("json", "null")).toEqual({ value: "null" });
  });

  it.each([
    [undefined, "unset"],
    ["x", "x"],
    [["a", "b"], "a, b"],
    [[], "none"],
    [{ a: 1 }, '{"a":1}'],
    [0, "0"],
  ])("%j is shown as %j", (value, text) => {
    expect(shownValue(value)).toBe(text);
  });

  it("in bytes is also read with its unit", () => {
    const bytesText = (bytes: number) => `${bytes / 1e9} GB`;
    expect(readingOf({ path: "memory.bufferBytes", value: 2e9 }, bytesText)).toBe("2 GB");
    expect(readingOf({ path: "memory.bufferBytes", value: 10 }, bytesText)).toBeUndefined();
    expect(readingOf({ path: "jobs.keepHours", value: 2e9 }, bytesText)).toBeUndefined();
  });
});

it("settings are grouped by the first part of their path", () => {
  const paths = ["schemaVersion", "model.default", 'models["x"].system', "model.provider", "privacy"];
  const settings = paths.map((path) => ({ path }) as Setting);
  const groups = groupsOf(settings, ({ path }) => path !== "model.provider");
  expect(groups.map(({ name, settings: own }) => [name, own.length])).toEqual([
    ["model", 1],
    ["models", 1],
    ["privacy", 1],
  ]);
});
