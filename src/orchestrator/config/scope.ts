import * as z from "zod";

/**
 * Where a setting applies: `daemon` (all clients of a home), `caller` (one connection), `request` (one connection, or one
 * request by its input). Given by `.meta({ scope })` in the schema.
 */
export type Scope = "daemon" | "caller" | "request";

export const bytes = z.number().int().min(0);
export const daemon = { scope: "daemon" } as const;
/** A list of names that may contain colons: its variable is split at commas, not like a list of folders. */
export const daemonNames = { scope: "daemon", separator: "comma" } as const;
export const caller = { scope: "caller" } as const;
/** Like `daemonNames`, for a caller. */
export const callerNames = { scope: "caller", separator: "comma" } as const;
export const request = { scope: "request" } as const;
