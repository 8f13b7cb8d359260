import type { SettingsAccess } from "../facade-settings.ts";
import type { Settings } from "./schema.ts";

/** The settings of the process that holds the home. */
export interface LiveSettings {
  current(): Settings;
  /** Reads `config.yaml` anew; a broken one changes nothing but `problem`. Resolves with whether anything changed. */
  reload(): Promise<boolean>;
  /** Calls `listener` with the new settings after each change, until the answer is called. */
  onChange(listener: (settings: Settings) => void): () => void;
  problem(): string | undefined;
}

/** Settings that never change. */
export function fixedSettings(settings: Settings): LiveSettings {
  return {
    current: () => settings,
    reload: () => Promise.resolve(false),
    onChange: () => () => undefined,
    problem: () => undefined,
  };
}

export function createSettingsAccess(parts: { readonly home: string; readonly live: LiveSettings }): SettingsAccess {
  const unbuilt = () => Promise.reject(new Error("settings: not built yet"));
  return { show: unbuilt, set: unbuilt, unset: unbuilt, problem: parts.live.problem };
}
