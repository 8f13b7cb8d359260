import { isAbsolute, posix, win32 } from "node:path";
import * as z from "zod";
import { isAccidentalWholeDisk } from "./home.ts";
import { isUpstream, price } from "./openai-servers.ts";
import { profileName, section, setting } from "./profile-settings.ts";
import { tasks } from "../api/types.ts";
import { workerTools } from "../api/facade-batches.ts";
import { nearestNames } from "../util/nearest.ts";
import { bytes, caller, daemon, daemonNames, modelSettings } from "./schema-models.ts";
import prices from "./reference-prices.json" with { type: "json" };

/** A list price in US dollars. */
interface ReferencePrice {
  readonly promptPerMillion: number;
  readonly answerPerMillion: number;
  /** The day on which the price was read, ISO 8601. */
  readonly asOf: string;
  /** Where the price is published. */
  readonly source: string;
  /** What it leaves out. */
  readonly note?: string;
}

/**
 * List prices of cloud models that assistants use: the standard tier, uncached input, and the price of short prompts where
 * long ones cost more. Of two prices by time of day it is the lower one, so that savings are rather too low.
 */
export const referencePrices: ReadonlyMap<string, ReferencePrice> = new Map(Object.entries<ReferencePrice>(prices));

/** Like `daemonNames`, for a caller. */
const callerNames = { scope: "caller", separator: "comma" } as const;

/** One of `workers`. */
const worker = z
  .strictObject({
    verify: z
      .array(z.string())
      .min(1)
      .optional()
      .describe("Program and arguments, run in a sandbox in the copy: exit code 0 says that the task is done."),
    schema: z
      .record(z.string(), z.unknown())
      .optional()
      .describe("JSON Schema that the file `file` must match, in place of verify."),
    file: z.string().min(1).default("result.json").describe("The file that must match the schema."),
    timeout: z.number().int().min(1).max(600).default(120).describe("Seconds after which verify is ended."),
    profile: profileName.optional().describe("Profile that chooses the model."),
    model: z.string().min(1).optional().describe("The model; it may be elsewhere if privacy allows it."),
    tools: z.array(z.enum(workerTools)).min(1).optional().describe("Its tools; all when absent."),
  })
  .refine(({ verify, schema }) => verify === undefined || schema === undefined, {
    message: "set verify or schema, not both",
  });

/** Where the requests of one protocol go whose model is none of ours. */
const upstream = (example: string) =>
  setting(
    daemon,
    z.string().superRefine(isUpstream).optional(),
    `Address that requests for other models than ollm/... and http.modelNames pass to, unchanged, with the program's own key: ${example}. Absent: none does.`,
  );

/** Why a root is rejected; follows its name. */
export const wholeDisk = 'that is the whole disk (an unset variable?); name a narrower folder, or "/." if you mean it';

/**
 * The schema of all settings, from which types, scopes, the reference and the JSON Schema are made. Names state bytes and
 * tokens; `timeout`s, `keepAlive`s and `patience` are in seconds.
 */
export const settingsSchema = z.strictObject({
  schemaVersion: setting(daemon, z.literal(1).default(1), "Version of this file's format."),
  ...modelSettings,
  privacy: setting(
    caller,
    z.enum(["local_only", "allow_remote"]).default("local_only"),
    "local_only: never send anything to an engine on another machine.",
  ),
  store: section({
    path: setting(
      daemon,
      z.string().min(1).optional(),
      "Folder of ollm's own models; by default OLLM_HOME/models. Models that are loaded when it changes stay until they are evicted or the daemon exits.",
    ),
    readOllama: setting(
      daemon,
      z.boolean().default(true),
      "Use the models of an Ollama store on this machine, without writing to it.",
    ),
    promptCacheBytes: setting(
      daemon,
      bytes.optional(),
      "Maximum bytes on disk of what the embedded engine has read, so that it need not read a prompt again after an unload; 0: off. By default a tenth of the free disk, 16 GiB at most.",
    ),
  }),
  memory: section({
    bufferBytes: setting(daemon, bytes.default(2 * 1024 ** 3), "Memory that every load leaves free."),
    maxBytes: setting(daemon, bytes.optional(), "Maximum bytes of all models together."),
    availableBytes: setting(
      daemon,
      bytes.optional(),
      "Available memory, in place of the measured value (remote hosts, tests).",
    ),
  }),
  recall: section({
    injectTokens: setting(
      { ...caller, free: "always" },
      z.number().int().min(0).max(8192).default(512),
      "Maximum tokens of saved entries that are added to a prompt; 0 adds none.",
    ),
  }),
  queue: section({
    maxWaiting: setting(
      { ...daemon, free: { min: 8 } },
      z.number().int().min(1).default(64),
      "Maximum requests waiting for one model.",
    ),
    maxWaitMs: setting(
      { ...caller, free: { min: 10_000 } },
      z.number().int().min(1).optional(),
      "Longest time until an answer begins, including the model's load; a request that would wait longer is rejected at once. By default no limit.",
    ),
  }),
  files: section({
    roots: setting(
      caller,
      z.array(z.string()).superRefine(areFolders).default([]),
      "Folders whose files tools may read and write. In the variable separated as in PATH: by colons, on Windows by semicolons.",
    ),
    maxFileBytes: setting(daemon, bytes.default(2 * 1024 ** 2), "Largest file that is read."),
    maxTotalBytes: setting(daemon, bytes.default(8 * 1024 ** 2), "Maximum bytes of all files of one request."),
  }),
  checks: setting(
    daemon,
    z
      .record(
        profileName,
        z.strictObject({
          command: z
            .array(z.string())
            .superRefine(namesProgram)
            .describe(
              "Absolute path of a program, and its arguments; the path of the answer's file is added as the last.",
            ),
          file: z
            .string()
            .regex(/^[\w-][\w.-]{0,99}$/, "write a file name of letters, digits, dots, - and _")
            .default("answer.txt")
            .describe("Name of the answer's file."),
          timeout: z
            .number()
            .int()
            .min(1)
            .max(600)
            .default(30)
            .describe("Seconds after which the program, and what it started, is ended: the answer did not pass."),
        }),
      )
      .default({}),
    "Programs that a request may have check its answer, by name: exit code 0 passes (docs/files.md).",
  ),
  workers: setting(
    daemon,
    z.record(profileName, worker).default({}),
    "Workers that a local model does tasks as, on a copy of files, by name (docs/worker.md).",
  ),
  tools: section({
    sets: setting(
      callerNames,
      z.array(z.string()).default(["default"]),
      "Sets of tools offered: default, all, or names of tools.",
    ),
    enabled: setting(callerNames, z.array(z.string()).optional(), "Only these tools; by default all of the sets."),
    disabled: setting(callerNames, z.array(z.string()).default([]), "Tools that are not offered."),
  }),
  projects: section({
    detect: setting(
      { ...caller, free: "ifLocal" },
      z.boolean().default(true),
      "Without a project file, use the profile of the detected kind of project.",
    ),
  }),
  training: section({
    tasks: setting(
      daemonNames,
      z.array(z.enum(tasks)).default([]),
      "Kinds of task whose prompts and answers are recorded in OLLM_HOME/training.json, for `ollm export --training`: none unless you name them (docs/custom-models.md). Only what is answered on this machine is.",
    ),
  }),
  conversations: section({
    keepHours: setting(daemon, z.number().min(0).default(24), "Hours that an unused conversation is kept."),
  }),
  daemon: section({
    idleTimeout: setting(
      { ...daemon, free: { min: 60 } },
      z.number().int().min(-1).default(1800),
      "Seconds without clients, pins and jobs after which the daemon exits; -1 for never.",
    ),
  }),
  jobs: section({
    patience: setting(
      { ...caller, free: "always" },
      z.number().int().min(1).default(45),
      "Seconds after which a call becomes a background job, for clients not known to wait longer.",
    ),
    keepHours: setting(daemon, z.number().min(0).default(24), "Hours that a job's result is kept."),
  }),
  http: section({
    doors: setting(
      daemonNames,
      z.array(z.enum(["openai", "anthropic", "ollama"])).default([]),
      "Protocols that `ollm serve` answers beside MCP, so that other programs can use local models: openai, anthropic, ollama.",
    ),
    movesDates: setting(
      daemon,
      z.boolean().default(false),
      "Let lines with the day or the time stand at the end of a program's system prompt, so that a local model's cache keeps the rest.",
    ),
    upstreams: section({
      anthropic: upstream("https://api.anthropic.com"),
      openai: upstream("https://api.openai.com"),
    }),
    modelNames: setting(
      daemon,
      z.record(z.string().min(1), z.string().min(1)).default({}),
      "Names that programs ask those protocols for (patterns) and what they mean: a model, ollm/auto or ollm/PROFILE. The last match wins.",
    ),
    ollamaPort: setting(
      daemon,
      z.number().int().min(1).max(65_535).optional(),
      "Port of this machine at which `ollm serve` answers Ollama's protocol alone, for programs that expect an Ollama server: 11434, where none runs.",
    ),
    ollamaWithoutToken: setting(
      daemon,
      z.boolean().default(false),
      "Whether programs on this machine may use ollamaPort without the token.",
    ),
    metricsWithoutToken: setting(
      daemon,
      z.boolean().default(false),
      "Whether programs on this machine may read /metrics without the token; not behind a proxy that hides who calls.",
    ),
    allowedOrigins: setting(
      daemonNames,
      z.array(z.string()).default([]),
      "Origins (https://host:port), besides the server's own, whose pages may call it. Separated by commas in the variable.",
    ),
    allowedHosts: setting(
      daemonNames,
      z.array(z.string()).default([]),
      "Accepted Host headers (host or host:port), besides the server's own address. Separated by commas in the variable.",
    ),
  }),
  network: section({
    allowedHosts: setting(
      daemonNames,
      z.array(z.string()).default([]),
      "Private addresses (host or host:port) of engines and registries that may be used, besides this machine's own. Separated by commas in the variable.",
    ),
  }),
  savings: z
    .strictObject({
      referenceModel: setting(
        daemon,
        // The usual model of many assistants; its price is between the dearest and the cheapest of the table.
        z.string().superRefine(isReferenceModel).default("claude-sonnet-5-5"),
        "Cloud model at whose list price the tokens of local models count as saved; docs/metrics.md has the table.",
      ),
      promptPerMillion: setting(
        daemon,
        price.optional(),
        "Your own price of a million prompt tokens in US dollars, in place of that of referenceModel.",
      ),
      answerPerMillion: setting(
        daemon,
        price.optional(),
        "Your own price of a million answer tokens in US dollars; set both prices.",
      ),
    })
    .superRefine(checkSavings)
    .prefault({}),
  log: section({
    prompts: setting(daemon, z.boolean().default(false), "Write prompts and answers to the log of calls."),
    level: setting(
      daemon,
      z.enum(["debug", "info", "warn", "silent"]).default("warn"),
      "Lowest level of messages written to stderr.",
    ),
  }),
});

export type Settings = z.output<typeof settingsSchema>;

function isReferenceModel(name: string, context: z.RefinementCtx): void {
  const names = [...referencePrices.keys()];
  if (names.includes(name)) return;
  const nearest = nearestNames(name, names, 3);
  const meant = nearest.length === 0 ? "" : `did you mean ${nearest.join(" or ")}? `;
  const message = `its price is not known; ${meant}Known are ${names.join(", ")}; for others set promptPerMillion and answerPerMillion`;
  context.addIssue({ code: "custom", message });
}

/** The prices of the table are replaced together, or not at all. */
function checkSavings(
  {
    promptPerMillion,
    answerPerMillion,
  }: { readonly [Name in "promptPerMillion" | "answerPerMillion"]?: number | undefined },
  context: z.RefinementCtx,
): void {
  if ((promptPerMillion === undefined) === (answerPerMillion === undefined)) return;
  context.addIssue({
    code: "custom",
    path: [promptPerMillion === undefined ? "answerPerMillion" : "promptPerMillion"],
    message: "set promptPerMillion and answerPerMillion, both",
  });
}

/** Not one that is found by a search path: that may hold a project's programs. */
function namesProgram([program = ""]: readonly string[], context: z.RefinementCtx): void {
  if (posix.isAbsolute(program) || win32.isAbsolute(program)) return;
  context.addIssue({ code: "custom", message: "the first entry must be the absolute path of a program" });
}

/** Rejects empty entries, which would mean the working directory: `/` under some clients. */
function areFolders(folders: readonly string[], context: z.RefinementCtx): void {
  if (folders.some((folder) => folder.trim() === "")) {
    context.addIssue({ code: "custom", message: "an entry is empty (an unset variable?); leave it out" });
  }
  if (folders.some((folder) => isAbsolute(folder) && isAccidentalWholeDisk(folder, folder))) {
    context.addIssue({ code: "custom", message: wholeDisk });
  }
}
