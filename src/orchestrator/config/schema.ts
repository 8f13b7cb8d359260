import { isAbsolute, posix, win32 } from "node:path";
import * as z from "zod";
import { defaultReferenceModel, referencePrices } from "./reference-prices.ts";
import { isAccidentalWholeDisk } from "./home.ts";
import { isUpstream, price } from "./openai-servers.ts";
import { profileName } from "./profile-settings.ts";
import { nearestNames } from "../util/nearest.ts";
import { bytes, caller, daemon, daemonNames, modelSettings } from "./schema-models.ts";

/** Like `daemonNames`, for a caller. */
const callerNames = { scope: "caller", separator: "comma" } as const;

/** Where the requests of one protocol go whose model is none of ours. */
const upstream = (example: string) =>
  z
    .string()
    .superRefine(isUpstream)
    .optional()
    .meta(daemon)
    .describe(
      `Address that requests for other models than ollm/... and http.modelNames pass to, unchanged, with the program's own key: ${example}. Absent: none does.`,
    );

/** Why a root is rejected; follows its name. */
export const wholeDisk = 'that is the whole disk (an unset variable?); name a narrower folder, or "/." if you mean it';

/**
 * The schema of all settings, from which types, scopes, the reference and the JSON Schema are made. Names state bytes and
 * tokens; `timeout`s, `keepAlive`s and `patience` are in seconds.
 */
export const settingsSchema = z.strictObject({
  schemaVersion: z.literal(1).default(1).meta(daemon).describe("Version of this file's format."),
  ...modelSettings,
  privacy: z
    .enum(["local_only", "allow_remote"])
    .default("local_only")
    .meta(caller)
    .describe("local_only: never send anything to an engine on another machine."),
  store: z
    .strictObject({
      path: z
        .string()
        .min(1)
        .optional()
        .meta(daemon)
        .describe("Folder of ollm's own models; by default OLLM_HOME/models."),
      readOllama: z
        .boolean()
        .default(true)
        .meta(daemon)
        .describe("Use the models of an Ollama store on this machine, without writing to it."),
      promptCacheBytes: bytes
        .optional()
        .meta(daemon)
        .describe(
          "Maximum bytes on disk of what the embedded engine has read, so that it need not read a prompt again after an unload; 0: off. By default a tenth of the free disk, 16 GiB at most.",
        ),
    })
    .prefault({}),
  memory: z
    .strictObject({
      bufferBytes: bytes
        .default(2 * 1024 ** 3)
        .meta(daemon)
        .describe("Memory that every load leaves free."),
      maxBytes: bytes.optional().meta(daemon).describe("Maximum bytes of all models together."),
      availableBytes: bytes
        .optional()
        .meta(daemon)
        .describe("Available memory, in place of the measured value (remote hosts, tests)."),
    })
    .prefault({}),
  recall: z
    .strictObject({
      injectTokens: z
        .number()
        .int()
        .min(0)
        .max(8192)
        .default(512)
        .meta({ ...caller, free: "always" })
        .describe("Maximum tokens of saved entries that are added to a prompt; 0 adds none."),
    })
    .prefault({}),
  queue: z
    .strictObject({
      maxWaiting: z
        .number()
        .int()
        .min(1)
        .default(64)
        .meta({ ...daemon, free: { min: 8 } })
        .describe("Maximum requests waiting for one model."),
      maxWaitMs: z
        .number()
        .int()
        .min(1)
        .optional()
        .meta({ ...caller, free: { min: 10_000 } })
        .describe(
          "Longest time until an answer begins, including the model's load; a request that would wait longer is rejected at once. By default no limit.",
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
          "Folders whose files tools may read and write. In the variable separated as in PATH: by colons, on Windows by semicolons.",
        ),
      maxFileBytes: bytes
        .default(2 * 1024 ** 2)
        .meta(daemon)
        .describe("Largest file that is read."),
      maxTotalBytes: bytes
        .default(8 * 1024 ** 2)
        .meta(daemon)
        .describe("Maximum bytes of all files of one request."),
    })
    .prefault({}),
  checks: z
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
    .default({})
    .meta(daemon)
    .describe("Programs that a request may have check its answer, by name: exit code 0 passes (docs/files.md)."),
  tools: z
    .strictObject({
      sets: z
        .array(z.string())
        .default(["default"])
        .meta(callerNames)
        .describe("Sets of tools offered: default, all, or names of tools."),
      enabled: z
        .array(z.string())
        .optional()
        .meta(callerNames)
        .describe("Only these tools; by default all of the sets."),
      disabled: z.array(z.string()).default([]).meta(callerNames).describe("Tools that are not offered."),
    })
    .prefault({}),
  projects: z
    .strictObject({
      detect: z
        .boolean()
        .default(true)
        .meta({ ...caller, free: "ifLocal" })
        .describe("Without a project file, use the profile of the detected kind of project."),
    })
    .prefault({}),
  conversations: z
    .strictObject({
      keepHours: z.number().min(0).default(24).meta(daemon).describe("Hours that an unused conversation is kept."),
    })
    .prefault({}),
  daemon: z
    .strictObject({
      idleTimeout: z
        .number()
        .int()
        .min(-1)
        .default(1800)
        .meta({ ...daemon, free: { min: 60 } })
        .describe("Seconds without clients, pins and jobs after which the daemon exits; -1 for never."),
    })
    .prefault({}),
  jobs: z
    .strictObject({
      patience: z
        .number()
        .int()
        .min(1)
        .default(45)
        .meta({ ...caller, free: "always" })
        .describe("Seconds after which a call becomes a background job, for clients not known to wait longer."),
      keepHours: z.number().min(0).default(24).meta(daemon).describe("Hours that a job's result is kept."),
    })
    .prefault({}),
  http: z
    .strictObject({
      doors: z
        .array(z.enum(["openai", "anthropic", "ollama"]))
        .default([])
        .meta(daemonNames)
        .describe(
          "Protocols that `ollm serve` answers beside MCP, so that other programs can use local models: openai, anthropic, ollama.",
        ),
      movesDates: z
        .boolean()
        .default(false)
        .meta(daemon)
        .describe(
          "Let lines with the day or the time stand at the end of a program's system prompt, so that a local model's cache keeps the rest.",
        ),
      upstreams: z
        .strictObject({
          anthropic: upstream("https://api.anthropic.com"),
          openai: upstream("https://api.openai.com"),
        })
        .prefault({}),
      modelNames: z
        .record(z.string().min(1), z.string().min(1))
        .default({})
        .meta(daemon)
        .describe(
          "Names that programs ask those protocols for (patterns) and what they mean: a model, ollm/auto or ollm/PROFILE. The last match wins.",
        ),
      ollamaPort: z
        .number()
        .int()
        .min(1)
        .max(65_535)
        .optional()
        .meta(daemon)
        .describe(
          "Port of this machine at which `ollm serve` answers Ollama's protocol alone, for programs that expect an Ollama server: 11434, where none runs.",
        ),
      ollamaWithoutToken: z
        .boolean()
        .default(false)
        .meta(daemon)
        .describe("Whether programs on this machine may use ollamaPort without the token."),
      metricsWithoutToken: z
        .boolean()
        .default(false)
        .meta(daemon)
        .describe(
          "Whether programs on this machine may read /metrics without the token; not behind a proxy that hides who calls.",
        ),
      allowedOrigins: z
        .array(z.string())
        .default([])
        .meta(daemonNames)
        .describe(
          "Origins (https://host:port), besides the server's own, whose pages may call it. Separated by commas in the variable.",
        ),
      allowedHosts: z
        .array(z.string())
        .default([])
        .meta(daemonNames)
        .describe(
          "Accepted Host headers (host or host:port), besides the server's own address. Separated by commas in the variable.",
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
          "Private addresses (host or host:port) of engines and registries that may be used, besides this machine's own. Separated by commas in the variable.",
        ),
    })
    .prefault({}),
  savings: z
    .strictObject({
      referenceModel: z
        .string()
        .superRefine(isReferenceModel)
        .default(defaultReferenceModel)
        .meta(daemon)
        .describe(
          "Cloud model at whose list price the tokens of local models count as saved; docs/metrics.md has the table.",
        ),
      promptPerMillion: price
        .optional()
        .meta(daemon)
        .describe("Your own price of a million prompt tokens in US dollars, in place of that of referenceModel."),
      answerPerMillion: price
        .optional()
        .meta(daemon)
        .describe("Your own price of a million answer tokens in US dollars; set both prices."),
    })
    .superRefine(checkSavings)
    .prefault({}),
  log: z
    .strictObject({
      prompts: z.boolean().default(false).meta(daemon).describe("Write prompts and answers to the log of calls."),
      level: z
        .enum(["debug", "info", "warn", "silent"])
        .default("warn")
        .meta(daemon)
        .describe("Lowest level of messages written to stderr."),
    })
    .prefault({}),
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
  }: { readonly promptPerMillion?: number | undefined; readonly answerPerMillion?: number | undefined },
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
