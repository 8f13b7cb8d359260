import * as z from "zod";
import type { ConfiguredModel, Prices } from "../api/cost.ts";
import { capabilities } from "../api/types.ts";
import { section, setting, visibleText } from "./profile-settings.ts";
import { looksLikeKey } from "../util/control-characters.ts";
import { isOnThisMachine } from "../util/ollama-host.ts";
import { defined } from "../util/values.ts";

export const price = z.number().min(0).max(1_000_000);
/** ISO 4217. */
const currency = z
  .string()
  .superRefine(matches(/^[A-Z]{3}$/, "a currency is written as three capitals, such as USD, EUR or CNY"));

const prices = z.strictObject({
  inputPerMillion: price.describe("Price of a million input tokens."),
  cachedInputPerMillion: price
    .optional()
    .describe("Price of a million input tokens that the server read from its cache; by default inputPerMillion."),
  outputPerMillion: price.describe("Price of a million output tokens, thinking included."),
  currency: currency.describe("Currency of the prices and of the budget: USD, EUR, CNY, ..."),
  date: z
    .string()
    .superRefine(isDate)
    .describe("The day on which you looked the prices up, such as 2026-11-22; shown with each cost."),
});

const seconds = z.number().min(0.1).max(86_400);

/** For how long an unused connection to a server stays open. */
export const connectionKeepAliveMs = 30_000;

/** Connections to one server, of every engine that has servers. */
export const connectionSettings = {
  connections: setting(
    { scope: "daemon" },
    z.number().int().min(1).max(1_000).default(10),
    "Maximum connections to a server for short calls; each answer has its own in addition.",
  ),
};

/** One server of `providers.openai`. */
const openAiServer = z
  .strictObject({
    id: z
      .string()
      .superRefine(
        matches(/^[a-z][a-z0-9-]{0,31}$/, "an id has small letters, digits and dashes, and begins with a letter"),
      )
      .describe("Name of the engine in answers, statuses and messages."),
    kind: z
      .enum(["cloud", "cluster", "local"])
      .describe(
        "cloud: a paid service; cluster: a server or load balancer with models of its own; local: on this machine.",
      ),
    baseUrl: z
      .string()
      .superRefine(isServerAddress)
      .describe("Address up to and including /v1, such as https://api.moonshot.ai/v1."),
    apiKeyEnv: z
      .string()
      .superRefine(isVariableName)
      .optional()
      .describe("Name of the variable with the key. Only OLLM_* variables reach the daemon."),
    apiKeyFile: z
      .string()
      .min(1)
      .superRefine(isFileName)
      .optional()
      .describe("File with the key, readable by you alone (mode 0600)."),
    trust: z
      .enum(["local", "remote"])
      .optional()
      .describe(
        "local: its server is yours, and private prompts may go there. By default local on this machine, else remote; a cloud is always remote.",
      ),
    models: z
      .array(
        z.union([
          visibleText.min(1),
          z.strictObject({
            name: visibleText.min(1).describe("As the server names it."),
            contextTokens: z.number().int().min(256).optional().describe("Context window in tokens."),
            capabilities: z.array(z.enum(capabilities)).min(1).optional().describe("What it can do."),
            prices: prices.optional().describe("Prices of this model, in place of those of the server."),
          }),
        ]),
      )
      .optional()
      .describe("Models that may be used: names, or {name, contextTokens, capabilities, prices}; by default all."),
    prices: prices.optional().describe("Prices of all its models that have none of their own."),
    monthlyBudget: z
      .number()
      .min(0)
      .max(1_000_000)
      .optional()
      .describe(
        "Most that its answers may cost in a calendar month (UTC), in the currency of the prices; what could exceed it is not sent.",
      ),
    limits: section({ total: seconds.default(1_800).describe("Seconds of a whole answer.") }).describe(
      "Time limits in seconds.",
    ),
    ...connectionSettings,
  })
  .superRefine(checkServer);

/** `providers.openai` */
export const openAiServerList = z.array(openAiServer).superRefine(checkIds);

/** An entry of `providers.openai` as written, with defaults. */
export type OpenAiServer = z.output<typeof openAiServer>;

/** `local` for a server on this machine unless the settings say otherwise; a cloud is always remote. */
export function trustOf({
  kind,
  trust,
  baseUrl,
}: Pick<OpenAiServer, "kind" | "trust" | "baseUrl">): "local" | "remote" {
  if (kind === "cloud") return "remote";
  return trust ?? (isOnThisMachine(baseUrl) ? "local" : "remote");
}

/** The options of its engine that the settings determine. */
export function engineOptions(entry: OpenAiServer) {
  const { id, kind, baseUrl, models, prices: ownPrices, monthlyBudget, limits } = entry;
  const named = models?.map((model) => (typeof model === "string" ? { name: model } : model));
  return {
    id,
    serverKind: kind,
    baseUrl,
    trust: trustOf(entry),
    ...(named && { models: present(named) as ConfiguredModel[] }),
    ...(ownPrices && { prices: present(ownPrices) as Prices }),
    ...defined({ monthlyBudget }),
    limits: {
      connectMs: 10_000,
      firstTokenMs: 300_000,
      betweenTokensMs: 120_000,
      totalMs: limits.total * 1_000,
    },
    connections: entry.connections,
    connectionKeepAliveMs,
  };
}

/** Drops keys that are undefined. */
function present(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

/** `providers.openai[0].monthlyBudget` */
export function budgetPath(servers: readonly Pick<OpenAiServer, "id">[], id: string): string {
  return `providers.openai[${Math.max(
    0,
    servers.findIndex((server) => server.id === id),
  )}].monthlyBudget`;
}

/** The names of variables with keys. */
export function keyVariables(servers: readonly Pick<OpenAiServer, "apiKeyEnv">[]): ReadonlySet<string> {
  return new Set(servers.flatMap(({ apiKeyEnv }) => (apiKeyEnv === undefined ? [] : [apiKeyEnv])));
}

const putKeyElsewhere =
  "put the key into a file with mode 0600 and name the file in apiKeyFile, or into a variable OLLM_... and name that in apiKeyEnv; " +
  "a key that was in a file others can read should be replaced";

/** What to do about a key in the settings themselves; follows the name of the setting. */
export const pastedKey = `keys don't belong into the settings: ${putKeyElsewhere}`;

function matches(pattern: RegExp, message: string) {
  return (value: string, context: z.RefinementCtx<string>): void => {
    if (!pattern.test(value)) context.addIssue({ code: "custom", message });
  };
}

function isDate(value: string, context: z.RefinementCtx<string>): void {
  const day = new Date(`${value}T00:00:00Z`);
  const isDay = /^\d{4}-\d\d-\d\d$/.test(value) && !Number.isNaN(day.getTime()) && day.toISOString().startsWith(value);
  if (!isDay) context.addIssue({ code: "custom", message: "write the day as 2026-11-22" });
}

function isVariableName(value: string, context: z.RefinementCtx<string>): void {
  if (looksLikeKey(value)) context.addIssue({ code: "custom", message: `that is a key: ${putKeyElsewhere}` });
  else if (!/^[A-Za-z_]\w*$/.test(value)) {
    context.addIssue({ code: "custom", message: "write the name of a variable, such as OLLM_KIMI_KEY" });
  }
}

function isFileName(value: string, context: z.RefinementCtx<string>): void {
  if (looksLikeKey(value)) context.addIssue({ code: "custom", message: `that is a key: ${putKeyElsewhere}` });
  else if (!/^(?:~?[\\/]|[a-z]:[\\/])/i.test(value)) {
    context.addIssue({ code: "custom", message: "write a whole path, such as ~/.ollm/kimi.key" });
  }
}

/** An address that programs' keys and prompts are sent to. */
export function isUpstream(value: string, context: z.RefinementCtx<string>): void {
  isServerAddress(value, context);
  if (!value.startsWith("http:") || !URL.canParse(value) || isOnThisMachine(value)) return;
  context.addIssue({
    code: "custom",
    message: "it needs https: keys and prompts would cross the network in plain text",
  });
}

function isServerAddress(value: string, context: z.RefinementCtx<string>): void {
  const fail = (message: string) => context.addIssue({ code: "custom", message });
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    fail("write http(s)://host:port/v1, such as https://api.moonshot.ai/v1");
  } else if (looksLikeKey(value)) fail(`it contains a key: ${putKeyElsewhere}`);
  else if (url.username !== "" || url.password !== "") fail(`it contains a user name or password: ${putKeyElsewhere}`);
  else if (url.search !== "" || url.hash !== "") fail("it must end with a path: nothing after ? or #");
}

function checkServer(entry: OpenAiServer, context: z.RefinementCtx<OpenAiServer>): void {
  const fail = (path: string, message: string) => context.addIssue({ code: "custom", path: [path], message });
  if (entry.apiKeyEnv !== undefined && entry.apiKeyFile !== undefined) {
    fail("apiKeyFile", "apiKeyEnv is given, too; keep one of them");
  }
  if (entry.kind === "cloud" && entry.trust === "local") {
    fail("trust", "a cloud is remote; if the server is yours, set kind to cluster");
  }
  if (entry.kind === "cloud" && entry.baseUrl.startsWith("http:") && !isOnThisMachine(entry.baseUrl)) {
    fail("baseUrl", "a cloud needs https: key and prompts would cross the network in plain text");
  }
  if (entry.kind === "local" && !isOnThisMachine(entry.baseUrl)) {
    fail("kind", "that address is not on this machine; set kind to cluster");
  }
  if (entry.monthlyBudget === undefined) return;
  const modelPrices = (entry.models ?? []).map((model) => (typeof model === "string" ? undefined : model.prices));
  const isPriced = entry.prices !== undefined || (modelPrices.length > 0 && !modelPrices.includes(undefined));
  if (!isPriced)
    fail("monthlyBudget", "a budget needs prices: set prices of the server, or of each of its models, first");
  const currencies = new Set(
    [entry.prices, ...modelPrices].flatMap((each) => (each === undefined ? [] : each.currency)),
  );
  if (currencies.size > 1)
    fail("monthlyBudget", `a budget needs prices in one currency, not ${[...currencies].join(", ")}`);
}

function checkIds(entries: readonly OpenAiServer[], context: z.RefinementCtx<OpenAiServer[]>): void {
  for (const [index, { id }] of entries.entries()) {
    const fail = (message: string) => context.addIssue({ code: "custom", path: [index, "id"], message });
    if (/^(?:ollama(?:-\d+)?|llama-cpp)$/.test(id)) fail("another engine has that id; choose another one");
    else if (entries.slice(0, index).some((other) => other.id === id)) fail("an earlier entry has that id");
  }
}
