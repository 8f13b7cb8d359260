import { callerSettings } from "../../src/orchestrator/config/load.ts";
import { settingsSchema } from "../../src/orchestrator/config/schema.ts";
import type { CallerSettings } from "../../src/orchestrator/api/types.ts";

/** The settings of a caller that has set nothing. */
export const plainSettings: CallerSettings = callerSettings(settingsSchema.parse({}));
