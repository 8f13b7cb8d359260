import { loadSettings, type LoadedSettings } from "../../orchestrator/config/load.ts";
import { settingsSchema } from "../../orchestrator/config/schema.ts";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import type { CommandIo } from "../terminal/io.ts";

type UsableSettings = Pick<LoadedSettings, "settings" | "sources">;

/** The settings of a home, or the defaults if they are invalid, which a check of its own reports. */
export async function usableSettings(home: string, io: Pick<CommandIo, "environment">): Promise<UsableSettings> {
  try {
    return await loadSettings({ home, environment: io.environment, flags: {} });
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    return defaultSettings();
  }
}

/** The settings of a home without a file. */
export function defaultSettings(): UsableSettings {
  return { settings: settingsSchema.parse({}), sources: new Map() };
}
