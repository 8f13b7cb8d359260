/** Settings as a form edits them: texts to values and back, where a value comes from, groups. */
import type { ResourceData } from "../resources/index.ts";
import { isRecord, jsonIn } from "../orchestrator/util/values.ts";
import { partsOf } from "./format.ts";

export type Setting = ResourceData["ollm://settings"]["settings"][number];

/**
 * Where a value comes from, `default`, `OLLM_MODEL`, `--model` or `/home/me/.ollm/config.yaml:3`, in words. `isFixed`: a
 * change of the file would have no effect.
 */
export function originOf(source: string) {
  if (source === "default") return { text: "default", isFixed: false, isDefault: true };
  if (/^OLLM_|^OLLAMA_/.test(source)) return { text: `variable ${source}`, isFixed: true, isDefault: false };
  if (source.startsWith("-")) return { text: `flag ${source}`, isFixed: true, isDefault: false };
  const config = /(?:^|[/\\])config\.yaml(?::(\d+))?$/.exec(source);
  if (config === null) return { text: source, isFixed: true, isDefault: false };
  const [, line] = config;
  return { text: `config.yaml${line === undefined ? "" : `, line ${line}`}`, isFixed: false, isDefault: false };
}

/** Why it can't be changed here. */
export function fixedText(source: string): string {
  if (source.startsWith("-")) return `Set by the flag ${source}, with which the daemon was started: change it there.`;
  if (/^[A-Z_]+$/.test(source)) return `Set by the variable ${source} where the daemon was started: change it there.`;
  return `Set in ${source}: change it there.`;
}

/** A value as it is shown: `unset` where there is none. */
export function shownValue(value: unknown): string {
  if (value === undefined) return "unset";
  if (typeof value === "string") return value;
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) {
    return value.length === 0 ? "none" : value.join(", ");
  }
  return JSON.stringify(value);
}

/** Bytes and times of day-to-day size are read better with their unit; undefined where the value needs no reading aid. */
export function readingOf({ path, value }: Pick<Setting, "path" | "value">, bytesText: (bytes: number) => string) {
  if (typeof value !== "number") return undefined;
  return path.endsWith("Bytes") && value >= 1_000_000 ? bytesText(value) : undefined;
}

/** The value as the text of its field. */
export function editText({ kind, value }: Pick<Setting, "kind" | "value">): string {
  if (value === undefined || value === "***") return "";
  if (kind === "list" && Array.isArray(value)) return value.map(String).join("\n");
  if (kind === "json") return JSON.stringify(value, undefined, 2);
  return typeof value === "string" ? value : JSON.stringify(value);
}

type Typed =
  | { readonly value: string | number | boolean | string[] | Record<string, unknown> }
  | { readonly problem: string };

/** The value of a text; the daemon checks whether it is allowed. */
export function valueOf(kind: Setting["kind"], text: string): Typed {
  const trimmed = text.trim();
  switch (kind) {
    case "boolean":
      return { value: trimmed === "true" };
    case "number": {
      const value = Number(trimmed);
      return trimmed === "" || Number.isNaN(value) ? { problem: `"${trimmed}" is not a number.` } : { value };
    }
    case "list":
      return { value: partsOf(trimmed, "\n") };
    case "json":
      return jsonOf(trimmed);
    case "text":
      return trimmed === "" ? { problem: "Enter a value, or reset it to its default." } : { value: text };
  }
}

/** JSON where it is some; any other text is left to the daemon, which also reads YAML. */
function jsonOf(text: string): Typed {
  if (text === "") return { problem: "Enter a value, or reset it to its default." };
  const value = jsonIn(text);
  // A list of sections has no type of its own in the input.
  return { value: isRecord(value) ? value : text };
}

/** Settings by the first part of their path, in order. `isMatch` decides what is shown. */
export function groupsOf(
  settings: readonly Setting[],
  isMatch: (setting: Setting) => boolean,
): readonly { readonly name: string; readonly settings: readonly Setting[] }[] {
  const groups = new Map<string, Setting[]>();
  // The version of the file is not for people.
  for (const setting of settings.filter((each) => each.path !== "schemaVersion" && isMatch(each))) {
    const name = /^[^.[]+/.exec(setting.path)?.[0] ?? "";
    groups.set(name, [...(groups.get(name) ?? []), setting]);
  }
  return [...groups].map(([name, found]) => ({ name, settings: found }));
}
