import { InvalidRequest } from "../api/errors.ts";
import type { ShownSetting } from "../api/facade-status.ts";
import { hideKeys } from "../util/control-characters.ts";
import { at, findSetting, formatPath, hasParts, parsePath, settingPaths, startsWith } from "./paths.ts";
import { type Settings, settingsSchema } from "./schema.ts";
import { shortened } from "../util/format-bytes.ts";
import { isRecord } from "../util/values.ts";

/**
 * Every setting at and below `path` (without a path, all), in the order of the schema; a record has one row for each
 * value in it. Passwords are masked. Throws `InvalidRequest` with the nearest path.
 */
export function shownSettings(
  settings: Settings,
  sources: ReadonlyMap<string, string>,
  path?: string,
): readonly ShownSetting[] {
  const wanted = path === undefined ? [] : parsePath(settingsSchema, path).path;
  const rows = settingPaths(settingsSchema).flatMap((setting) => {
    const value = at(settings, setting.path);
    const leaves = hasParts(setting.type) ? leavesOf(value, setting.path) : [];
    return (leaves.length > 0 ? leaves : [{ path: setting.path, value }]).map((leaf) => ({ ...setting, ...leaf }));
  });
  const found = rows.filter(
    (row) => startsWith(row.path, wanted) || (startsWith(wanted, row.path) && hasParts(row.type)),
  );
  if (found.length === 1 && found[0] !== undefined && found[0].path.length < wanted.length) {
    // Inside an empty record.
    return [shown(wanted, at(settings, wanted), sources)];
  }
  if (found.length === 0) return [shown(wanted, undefined, sources)];
  return found.map((row) => shown(row.path, row.value, sources));
}

/** One setting. Throws `InvalidRequest` for an unknown path or a section. */
export function shownSetting(settings: Settings, sources: ReadonlyMap<string, string>, path: string): ShownSetting {
  const found = parsePath(settingsSchema, path);
  if (found.type === "section" && !isInRecord(found.path)) {
    throw new InvalidRequest(`${formatPath(found.path)} is a section, not a setting`, {
      next: { step: "chooseOneOf", names: namesBelow(found.path) },
    });
  }
  return shown(found.path, at(settings, found.path), sources);
}

function shown(path: readonly string[], value: unknown, sources: ReadonlyMap<string, string>): ShownSetting {
  const scope = findSetting(settingsSchema, path)?.scope ?? "daemon";
  return { path: formatPath(path), value: masked(path, value), source: sourceOf(path, value, sources), scope };
}

/** The source of a value; for a value in a record without a source of its own, the record's. */
function sourceOf(path: readonly string[], value: unknown, sources: ReadonlyMap<string, string>): string {
  if (value === undefined) return "default";
  const setting = settingPaths(settingsSchema).find((known) => startsWith(path, known.path));
  for (let length = path.length; length >= (setting?.path.length ?? path.length); length -= 1) {
    const source = sources.get(formatPath(path.slice(0, length)));
    if (source !== undefined) return source;
  }
  return "default";
}

/** The paths of a section's settings. */
export function namesBelow(path: readonly string[]): readonly string[] {
  return settingPaths(settingsSchema)
    .filter((setting) => startsWith(setting.path, path))
    .map((setting) => formatPath(setting.path));
}

/** Whether a path is a record, a list of sections, or inside one: `models["x"].options` is set and shown as a whole. */
export function isInRecord(path: readonly string[]): boolean {
  return settingPaths(settingsSchema).some(({ type, path: known }) => hasParts(type) && startsWith(path, known));
}

/** The values in a tree, or in a list of trees; other lists are one value. */
function leavesOf(node: unknown, path: readonly string[]): readonly { path: readonly string[]; value: unknown }[] {
  const isParent = isRecord(node) || (Array.isArray(node) && node.every(isRecord));
  if (!isParent) return [];
  return Object.entries(node).flatMap(([key, value]: [string, unknown]) => {
    const below = leavesOf(value, [...path, key]);
    return below.length > 0 ? below : [{ path: [...path, key], value }];
  });
}

/** Texts under such keys are never shown; `maxTokens` and the like are numbers. */
const secretKey = /(token|key|secret|password)$/i;

/** A copy of the value without passwords in addresses and values of secret keys. */
export function masked(path: readonly string[], value: unknown): unknown {
  if (typeof value === "string") {
    const key = path.at(-1) ?? "";
    if (secretKey.test(key)) return "***";
    // Keys that were pasted where their place belongs.
    if (key === "apiKeyEnv" && !/^[A-Za-z_]\w*$/.test(value)) return "***";
    if (key === "apiKeyFile" && !/[\\/]/.test(value)) return "***";
    // A password may contain a slash, and an address may lack a scheme.
    const withoutPasswords = value.includes("//")
      ? value.replaceAll(/\/\/[^@\s]*@/g, "//***@")
      : value.replace(/^[^@\s/]*:[^@\s]*@/, "***@");
    return hideKeys(withoutPasswords);
  }
  if (Array.isArray(value)) return value.map((item) => masked(path, item));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, masked([...path, key], child)]));
}

/** The masked value as one line of JSON of at most 200 characters; `unset` for undefined. */
export function shownValue(path: readonly string[], value: unknown): string {
  if (value === undefined) return "unset";
  // JSON would write `.nan` and `.inf` as `null`.
  const text = typeof value === "number" ? String(value) : (JSON.stringify(masked(path, value)) ?? "");
  return shortened(text, 199);
}
