import type { LiveSettings } from "../../src/orchestrator/config/live.ts";
import { type Settings, settingsSchema } from "../../src/orchestrator/config/schema.ts";

/** Settings that never change. */
export function fixedSettings(settings: Settings): LiveSettings {
  return {
    current: () => settings,
    file: () => undefined,
    sources: () => new Map(),
    isFixed: () => false,
    reload: () => Promise.resolve(false),
    onChange: () => () => undefined,
    problem: () => undefined,
  };
}

/** Settings that a test changes, as edits of the file would. */
export interface HandSettings extends LiveSettings {
  /** Replaces all settings given before. */
  change(given: object): void;
  /** Makes the file invalid, or valid again. */
  breakFile(problem: string | undefined): void;
}

export function createHandSettings(given: object = {}): HandSettings {
  const listeners = new Set<(settings: Settings) => void>();
  let settings = settingsSchema.parse(given);
  let problem: string | undefined;
  return {
    ...fixedSettings(settings),
    current: () => settings,
    problem: () => problem,
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    change(next) {
      settings = settingsSchema.parse(next);
      for (const listener of listeners) listener(settings);
    },
    breakFile(next) {
      problem = next;
    },
  };
}
