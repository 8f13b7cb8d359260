import * as z from "zod";

/**
 * Who may set a setting: `daemon` (the process that holds the home), `caller` (each connection its own), `request`
 * (also a tool's input). `.meta({ scope })` of the schema says it.
 */
export type Scope = "daemon" | "caller" | "request";

export const bytes = z.number().int().min(0);
export const daemon = { scope: "daemon" } as const;
/** A list of names that may have colons in them: its variable is split at commas, not like a list of folders. */
export const daemonNames = { scope: "daemon", separator: "comma" } as const;
export const caller = { scope: "caller" } as const;
/** As `daemonNames`, of a caller. */
export const callerNames = { scope: "caller", separator: "comma" } as const;
export const request = { scope: "request" } as const;
