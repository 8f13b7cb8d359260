import * as z from "zod";
import type { ConnectionUsage } from "../orchestrator/api/facade-status.ts";
import {
  counted,
  formatBytes,
  formatConnections,
  formatSavings,
  formatSpending,
} from "../orchestrator/util/format-bytes.ts";
import { defineTool } from "./definition.ts";
import { defined, snakedOnly } from "../orchestrator/util/values.ts";

/** Number of operations in the text; the rest are counted. */
const shownOperations = 10;

export const systemStatus = defineTool({
  name: "system_status",
  title: "System status",
  description: "Memory, loaded models, queue, engines and warnings. Use it when a call fails or is slow.",
  effect: "read",
  view: "ui://ollm/status",
  input: z.strictObject({}),
  output: z.object({
    version: z.string(),
    home: z.string(),
    privacy: z.string(),
    ram: z.object({
      total_bytes: z.number(),
      available_bytes: z.number(),
      swap_used_bytes: z.number(),
      warning: z.string().optional(),
    }),
    gpus: z
      .array(z.object({ name: z.string(), total_bytes: z.number(), free_bytes: z.number().optional() }))
      .optional(),
    loaded: z.array(
      z.object({ name: z.string(), engine: z.string(), bytes: z.number(), is_pinned: z.boolean().optional() }),
    ),
    queue: z.array(z.object({ model: z.string(), running: z.number(), waiting: z.number() })).optional(),
    operations: z
      .array(
        z.object({
          id: z.string(),
          title: z.string(),
          message: z.string().optional(),
          is_job: z.boolean().optional(),
        }),
      )
      .optional(),
    engines: z.array(
      z.object({
        id: z.string(),
        health: z.string(),
        is_remote: z.boolean().optional(),
        version: z.string().optional(),
        message: z.string().optional(),
        model_count: z.number(),
        // A record, since names cost tokens in every list of tools.
        connections: z.record(z.string(), z.number()).optional(),
      }),
    ),
    remote_requests: z.number(),
    remote_text: z.string(),
    savings: z.string().optional(),
    warnings: z.array(z.string()).optional(),
  }),
  async run(_input, { orchestrator, caller, worded }) {
    const status = await orchestrator.systemStatus(caller);
    const { ram } = status;
    const breaches = await Promise.all(status.breaches.map(async ({ text, next }) => `${text}. ${await worded(next)}`));
    return {
      data: defined({
        ...snakedOnly(status, ["version", "home", "privacy", "remoteRequests", "remoteText"]),
        ram: snakedOnly(ram, ["totalBytes", "availableBytes", "swapUsedBytes", "warning"]),
        gpus: filled(ram.gpus.map((gpu) => snakedOnly(gpu, ["name", "totalBytes", "freeBytes"]))),
        loaded: ram.loaded.map((model) => snakedOnly(model, ["name", "engine", "bytes", "isPinned"])),
        queue: filled(status.queue.map(({ model, running, waiting }) => ({ model, running, waiting }))),
        operations: filled(
          status.operations.map(({ id, title, message, isJob }) =>
            defined({ id, title, message, is_job: isJob ? true : undefined }),
          ),
        ),
        engines: status.engines.map((engine) =>
          defined({
            ...snakedOnly(engine, ["id", "health", "version", "modelCount"]),
            is_remote: engine.trust === "remote" ? true : undefined,
            message:
              [engine.message, ...(engine.spending ?? []).map(formatSpending)].filter(Boolean).join("; ") || undefined,
            connections: engine.connections && connectionNumbers(engine.connections),
          }),
        ),
        savings: status.savings && formatSavings(status.savings),
        warnings: filled([...status.warnings, ...breaches]),
      }),
    };
  },
  lean: ({ version: _version, home: _home, ram, loaded, engines, ...rest }) => ({
    ram: {
      ...ram,
      swap_used_bytes: ram.swap_used_bytes === 0 ? undefined : ram.swap_used_bytes,
      // The warnings have it.
      warning: rest.warnings?.includes(ram.warning ?? "") === true ? undefined : ram.warning,
    },
    loaded: loaded.map(({ engine: _engine, ...model }) => model),
    engines: engines.map(({ connections: _connections, version: _engineVersion, ...engine }) => engine),
    ...rest,
  }),
  render({ ram, loaded, queue = [], operations = [], engines, privacy, remote_text, savings, warnings }) {
    const lines = [
      `${formatBytes(ram.available_bytes)} of ${formatBytes(ram.total_bytes)} available` +
        (ram.swap_used_bytes > 0 ? `, swap ${formatBytes(ram.swap_used_bytes)}` : ""),
      `loaded: ${loaded.map(({ name, bytes, is_pinned }) => `${name} ${formatBytes(bytes)}${is_pinned === true ? " pinned" : ""}`).join(", ") || "nothing"}`,
      ...queue.map(({ model, running, waiting }) => `queue: ${model}: ${running} running, ${waiting} waiting`),
      ...operations.slice(0, shownOperations).map(({ title, message }) => `running: ${operationText(title, message)}`),
      ...(operations.length > shownOperations ? [`running: ${operations.length - shownOperations} more`] : []),
      ...engines.flatMap(({ id, health, model_count, message, connections }) => [
        [`${id}: ${health.replaceAll("_", " ")}, ${counted(model_count, "model")}`, message]
          .filter((part) => part !== undefined)
          .join("; "),
        ...(connections === undefined ? [] : [`${id}: ${formatConnections(connections)}`]),
      ]),
      `privacy: ${privacy.replaceAll("_", " ")}. ${remote_text}`,
      ...(savings === undefined ? [] : [`saved ${savings}; \`ollm stats --money\` shows the rows`]),
      "dashboard: `ollm dashboard`",
    ];
    if (ram.warning !== undefined && warnings?.includes(ram.warning) !== true) lines.push(ram.warning);
    return [...lines, ...(warnings ?? [])].join("\n");
  },
});

function connectionNumbers({ control, generation, requests, opened }: ConnectionUsage): Record<string, number> {
  return { ...control, for_answers: generation.open, answering: generation.running, requests, opened };
}

/** The message, with the title unless it names the same thing. */
function operationText(title: string, message: string | undefined): string {
  if (message === undefined) return title;
  return message.includes(title.split(" ").at(-1) ?? title) ? message : `${title}: ${message}`;
}

function filled<Item>(items: Item[]): Item[] | undefined {
  return items.length > 0 ? items : undefined;
}
