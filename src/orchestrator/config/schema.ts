import { isAbsolute } from "node:path";
import * as z from "zod";
import { isWholeDiskBySlip } from "./expand-home.ts";
import { modelSettings } from "./schema-models.ts";
import { bytes, caller, callerNames, daemon, daemonNames } from "./scope.ts";

/** Why a root is refused, in words that follow its name. */
export const wholeDisk = 'that is the whole disk (an unset variable?); name a narrower folder, or "/." if it is meant';

/**
 * The one schema of all settings: types, scopes, the reference and the JSON schema come from it. Bytes and tokens are in
 * the names; `timeout`s, `keepAlive`s and `patience` are seconds.
 */
export const settingsSchema = z.strictObject({
  schemaVersion: z.literal(1).default(1).meta(daemon).describe("Version of this file's format."),
  ...modelSettings,
  privacy: z
    .enum(["local_only", "allow_remote"])
    .default("local_only")
    .meta(caller)
    .describe("local_only: nothing is ever sent to an engine that is not local."),
  store: z
    .strictObject({
      path: z
        .string()
        .min(1)
        .optional()
        .meta(daemon)
        .describe("Folder of our own models; OLLM_HOME/models when absent."),
      readOllama: z
        .boolean()
        .default(true)
        .meta(daemon)
        .describe("Read models of an Ollama store on this machine, never writing to it."),
    })
    .prefault({}),
  registry: z
    .strictObject({
      stallTimeoutMs: z
        .number()
        .int()
        .min(100)
        .default(30_000)
        .meta(daemon)
        .describe("A download without a byte for this long is tried again, then given up."),
      insecureHosts: z
        .array(z.string())
        .default([])
        .meta(daemonNames)
        .describe(
          "Registry hosts (host:port) spoken to over plain http; for private networks and tests. Commas between them in the variable.",
        ),
      defaultHost: z
        .string()
        .min(1)
        .default("registry.ollama.ai")
        .meta(daemon)
        .describe("Registry of names without a host."),
    })
    .prefault({}),
  memory: z
    .strictObject({
      bufferBytes: bytes
        .default(2 * 1024 ** 3)
        .meta(daemon)
        .describe("Stays free beside every load."),
      maxBytes: bytes.optional().meta(daemon).describe("Most bytes that models may use in all."),
      availableBytes: bytes
        .optional()
        .meta(daemon)
        .describe("Overrides the measured available memory (remote hosts, tests)."),
      smallModelBytes: bytes
        .default(5 * 1024 ** 3)
        .meta(daemon)
        .describe("Between evictions whose cost is about the same (within a tenth), models below this size stay."),
    })
    .prefault({}),
  recall: z
    .strictObject({
      injectTokens: z
        .number()
        .int()
        .min(0)
        .default(512)
        .meta(caller)
        .describe("Most tokens of remembered entries that go into a prompt; 0 puts none in."),
    })
    .prefault({}),
  queue: z
    .strictObject({
      maxWaiting: z.number().int().min(1).default(64).meta(daemon).describe("Most requests that wait for one model."),
      maxOvertakeMs: z
        .number()
        .int()
        .min(0)
        .default(30_000)
        .meta(daemon)
        .describe("Longest time that later requests, whose model is loaded already, are served before an earlier one."),
      maxWaitMs: z
        .number()
        .int()
        .min(1)
        .optional()
        .meta(caller)
        .describe(
          "Longest time until an answer begins, its model's load included; a request that would wait longer is refused at once. No limit when absent.",
        ),
    })
    .prefault({}),
  files: z
    .strictObject({
      roots: z
        .array(z.string())
        .superRefine(areFolders)
        .default([])
        .meta(caller)
        .describe(
          "Folders whose files tools may read and write. In the variable they stand like those of PATH: colons between them, semicolons on Windows.",
        ),
      maxFileBytes: bytes
        .default(2 * 1024 ** 2)
        .meta(daemon)
        .describe("Largest file that is read."),
      maxTotalBytes: bytes
        .default(8 * 1024 ** 2)
        .meta(daemon)
        .describe("Most bytes of all files of one request."),
    })
    .prefault({}),
  tools: z
    .strictObject({
      sets: z
        .array(z.string())
        .default(["default"])
        .meta(callerNames)
        .describe("Sets of tools on offer: default, all, or names of tools."),
      enabled: z
        .array(z.string())
        .optional()
        .meta(callerNames)
        .describe("Only these tools; all of the sets when absent."),
      disabled: z.array(z.string()).default([]).meta(callerNames).describe("Tools that are hidden."),
    })
    .prefault({}),
  projects: z
    .strictObject({
      detect: z
        .boolean()
        .default(true)
        .meta(caller)
        .describe("Without a project file the profile of the detected kind of project applies."),
    })
    .prefault({}),
  conversations: z
    .strictObject({
      keepHours: z.number().min(0).default(24).meta(daemon).describe("Hours without use that a conversation is kept."),
      maxCount: z.number().int().min(1).default(100).meta(daemon).describe("Most conversations that are kept."),
    })
    .prefault({}),
  daemon: z
    .strictObject({
      idleTimeout: z
        .number()
        .int()
        .min(-1)
        .default(1800)
        .meta(daemon)
        .describe("Seconds without clients, pins and jobs after which the daemon exits; -1 never."),
    })
    .prefault({}),
  jobs: z
    .strictObject({
      patience: z
        .number()
        .int()
        .min(1)
        .default(45)
        .meta(caller)
        .describe("Seconds after which a call is answered with a job, for clients not known to wait longer."),
      keepHours: z.number().min(0).default(24).meta(daemon).describe("Hours that the result of a job is kept."),
      maxBytes: bytes
        .default(256 * 1024 ** 2)
        .meta(daemon)
        .describe("Most bytes of all kept results; the oldest go first."),
    })
    .prefault({}),
  http: z
    .strictObject({
      maxSessions: z.number().int().min(1).default(128).meta(daemon).describe("Most open sessions over HTTP and SSE."),
      maxConnections: z.number().int().min(1).default(512).meta(daemon).describe("Most open HTTP connections."),
      idleTimeout: z
        .number()
        .int()
        .min(1)
        .default(1800)
        .meta(daemon)
        .describe("Seconds after which a session without traffic is closed."),
      allowedOrigins: z
        .array(z.string())
        .default([])
        .meta(daemonNames)
        .describe(
          "Origins (https://host:port), besides the server's own, whose pages may call it. Commas between them in the variable.",
        ),
      allowedHosts: z
        .array(z.string())
        .default([])
        .meta(daemonNames)
        .describe(
          "Host headers (host or host:port), besides the server's own address, that are answered. Commas between them in the variable.",
        ),
    })
    .prefault({}),
  network: z
    .strictObject({
      allowedHosts: z
        .array(z.string())
        .default([])
        .meta(daemonNames)
        .describe(
          "Private addresses (host or host:port) that engines and registries may have beside this machine's. Commas between them in the variable.",
        ),
    })
    .prefault({}),
  log: z
    .strictObject({
      prompts: z.boolean().default(false).meta(daemon).describe("Write prompts and answers into the log of calls."),
      level: z
        .enum(["debug", "info", "warn", "silent"])
        .default("warn")
        .meta(daemon)
        .describe("What is written to stderr."),
    })
    .prefault({}),
});

export type Settings = z.output<typeof settingsSchema>;

/** An empty text would be the working directory, which is `/` under some clients. */
function areFolders(folders: readonly string[], context: z.RefinementCtx): void {
  if (folders.some((folder) => folder.trim() === "")) {
    context.addIssue({ code: "custom", message: "an entry names no folder (an unset variable?); leave it out" });
  }
  if (folders.some((folder) => isAbsolute(folder) && isWholeDiskBySlip(folder, folder))) {
    context.addIssue({ code: "custom", message: wholeDisk });
  }
}
