import * as z from "zod";

/**
 * The one schema of all settings. `.meta({ scope })` says who may set one: `owner` (the process that holds the home),
 * `caller` (each connection its own), `request` (also a tool's input). Units are in the names, keep-alives in seconds.
 */
export type Scope = "owner" | "caller" | "request";

const bytes = z.number().int().min(0);
const owner = { scope: "owner" } as const;
/** A list of hosts or origins, which have colons in them: its variable is split at commas, not like a list of folders. */
const ownerHosts = { scope: "owner", separator: "comma" } as const;
const caller = { scope: "caller" } as const;
/** As `ownerHosts`, of a caller. */
const callerNames = { scope: "caller", separator: "comma" } as const;
const request = { scope: "request" } as const;

export const settingsSchema = z.strictObject({
  schemaVersion: z.literal(1).default(1).meta(owner).describe("Version of this file's format."),
  model: z
    .strictObject({
      default: z.string().min(1).optional().meta(caller).describe("Model used when a request names none."),
      provider: z
        .enum(["ollama", "llama-cpp"])
        .optional()
        .meta(caller)
        .describe("Engine that is asked first where several hold a model: ollama, llama-cpp."),
      routing: z
        .strictObject({
          enabled: z
            .boolean()
            .default(true)
            .meta(caller)
            .describe("Choose a model by task; false always takes model.default."),
          defaultProfile: z
            .string()
            .min(1)
            .default("general")
            .meta(caller)
            .describe("Profile of a prompt that matches no other: fast, general, code, creative."),
          overrides: z
            .record(z.string(), z.string())
            .default({})
            .meta(caller)
            .describe("Task to model name: {code: qwen2.5-coder:7b}."),
        })
        .prefault({}),
      keepAlive: z
        .strictObject({
          enabled: z
            .boolean()
            .default(true)
            .meta(owner)
            .describe("false leaves it to each engine how long a model stays, and pins none."),
          models: z
            .array(z.string())
            .default([])
            .meta(ownerHosts)
            .describe(
              "Patterns of models that stay once they are loaded: neither evicted nor unloaded for being idle.",
            ),
          timeout: z
            .number()
            .int()
            .min(-1)
            .default(900)
            .meta(owner)
            .describe("Seconds a model stays loaded without use; -1 keeps it."),
        })
        .prefault({}),
    })
    .prefault({}),
  models: z
    .record(
      z.string().min(1),
      z.strictObject({
        options: z
          .strictObject({
            temperature: z.number().min(0).max(2).optional().describe("Sampling temperature."),
            topP: z.number().gt(0).max(1).optional().describe("Nucleus sampling."),
            maxTokens: z.number().int().min(1).optional().describe("Most tokens of one answer."),
          })
          .optional(),
        contextTokens: z.number().int().min(256).optional().describe("At least this many tokens of context."),
        keepAlive: z.number().int().min(-1).optional().describe("Seconds it stays loaded without use; -1 keeps it."),
        sizeBytes: bytes.optional().describe("Bytes it takes in memory, in place of every estimate."),
        system: z.string().optional().describe("System prompt of requests that bring none."),
      }),
    )
    .default({})
    .meta(caller)
    .describe("Pattern of model names to what holds for them; of several the last one wins, option by option."),
  options: z
    .strictObject({
      temperature: z
        .number()
        .min(0)
        .max(2)
        .optional()
        .meta(request)
        .describe("Sampling temperature; the model's own when absent."),
      topP: z.number().gt(0).max(1).optional().meta(request).describe("Nucleus sampling; the model's own when absent."),
      maxTokens: z.number().int().min(1).default(4096).meta(request).describe("Most tokens of one answer."),
    })
    .prefault({}),
  privacy: z
    .enum(["local_only", "allow_remote"])
    .default("local_only")
    .meta(caller)
    .describe("local_only: nothing is ever sent to an engine that is not local."),
  providers: z
    .strictObject({
      ollama: z
        .strictObject({
          enabled: z.boolean().default(true).meta(owner).describe("Use an Ollama server when it answers."),
          host: z
            .string()
            .min(1)
            .default("http://127.0.0.1:11434")
            .meta(owner)
            .describe("Address of the Ollama server."),
          options: z
            .strictObject({
              numCtx: z
                .number()
                .int()
                .min(256)
                .optional()
                .meta(request)
                .describe("At least this many tokens of context, with every engine; grows with the prompt."),
            })
            .prefault({}),
        })
        .prefault({}),
      llamaCpp: z
        .strictObject({
          enabled: z.boolean().default(true).meta(owner).describe("Use the embedded engine (installed on demand)."),
          threads: z
            .number()
            .int()
            .min(1)
            .optional()
            .meta(owner)
            .describe("Threads for all embedded models together; the machine's cores when absent."),
        })
        .prefault({}),
    })
    .prefault({}),
  store: z
    .strictObject({
      path: z
        .string()
        .min(1)
        .optional()
        .meta(owner)
        .describe("Folder of our own models; OLLM_HOME/models when absent."),
      readOllama: z
        .boolean()
        .default(true)
        .meta(owner)
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
        .meta(owner)
        .describe("A download without a byte for this long is tried again, then given up."),
      insecureHosts: z
        .array(z.string())
        .default([])
        .meta(ownerHosts)
        .describe(
          "Registry hosts (host:port) spoken to over plain http; for private networks and tests. Commas between them in the variable.",
        ),
      defaultHost: z
        .string()
        .min(1)
        .default("registry.ollama.ai")
        .meta(owner)
        .describe("Registry of names without a host."),
    })
    .prefault({}),
  memory: z
    .strictObject({
      bufferBytes: bytes
        .default(2 * 1024 ** 3)
        .meta(owner)
        .describe("Stays free beside every load."),
      maxBytes: bytes.optional().meta(owner).describe("Most bytes that models may use in all."),
      availableBytes: bytes
        .optional()
        .meta(owner)
        .describe("Overrides the measured available memory (remote hosts, tests)."),
      smallModelBytes: bytes
        .default(5 * 1024 ** 3)
        .meta(owner)
        .describe("Between equal evictions, models below this size stay."),
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
      maxWaiting: z.number().int().min(1).default(64).meta(owner).describe("Most requests that wait for one model."),
    })
    .prefault({}),
  files: z
    .strictObject({
      roots: z
        .array(z.string())
        .default([])
        .meta(caller)
        .describe(
          "Folders whose files tools may read and write. In the variable they stand like those of PATH: colons between them, semicolons on Windows.",
        ),
      maxFileBytes: bytes
        .default(2 * 1024 ** 2)
        .meta(owner)
        .describe("Largest file that is read."),
      maxTotalBytes: bytes
        .default(8 * 1024 ** 2)
        .meta(owner)
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
      keepHours: z.number().min(0).default(24).meta(owner).describe("Hours without use that a conversation is kept."),
      maxCount: z.number().int().min(1).default(100).meta(owner).describe("Most conversations that are kept."),
    })
    .prefault({}),
  owner: z
    .strictObject({
      idleTimeout: z
        .number()
        .int()
        .min(-1)
        .default(1800)
        .meta(owner)
        .describe("Seconds without clients, pins and jobs after which the owner ends; -1 never."),
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
      keepHours: z.number().min(0).default(24).meta(owner).describe("Hours that the result of a job is kept."),
      maxBytes: bytes
        .default(256 * 1024 ** 2)
        .meta(owner)
        .describe("Most bytes of all kept results; the oldest go first."),
    })
    .prefault({}),
  http: z
    .strictObject({
      maxSessions: z.number().int().min(1).default(128).meta(owner).describe("Most open sessions over HTTP and SSE."),
      maxConnections: z.number().int().min(1).default(512).meta(owner).describe("Most open HTTP connections."),
      idleTimeout: z
        .number()
        .int()
        .min(1)
        .default(1800)
        .meta(owner)
        .describe("Seconds after which a session without traffic is closed."),
      allowedOrigins: z
        .array(z.string())
        .default([])
        .meta(ownerHosts)
        .describe(
          "Origins (https://host:port) beside the door's own whose pages may call it. Commas between them in the variable.",
        ),
      allowedHosts: z
        .array(z.string())
        .default([])
        .meta(ownerHosts)
        .describe(
          "Host headers (host or host:port) beside the door's own address that are answered. Commas between them in the variable.",
        ),
    })
    .prefault({}),
  network: z
    .strictObject({
      allowedHosts: z
        .array(z.string())
        .default([])
        .meta(ownerHosts)
        .describe(
          "Private addresses (host or host:port) that engines and registries may have beside this machine's. Commas between them in the variable.",
        ),
    })
    .prefault({}),
  log: z
    .strictObject({
      prompts: z.boolean().default(false).meta(owner).describe("Write prompts and answers into the log of calls."),
      level: z
        .enum(["debug", "info", "warn", "silent"])
        .default("warn")
        .meta(owner)
        .describe("What is written to stderr."),
    })
    .prefault({}),
});

export type Settings = z.output<typeof settingsSchema>;
