import { formatBytes } from "../../orchestrator/text/format-bytes.ts";
import type { CommandIo } from "../commands/io.ts";
import { withSession } from "./session.ts";
import { show } from "./show.ts";
import { styled } from "./table.ts";
import { oneLine } from "./width.ts";

interface Status {
  readonly version: string;
  readonly home: string;
  readonly privacy: string;
  readonly ram: {
    readonly total_bytes: number;
    readonly available_bytes: number;
    readonly swap_used_bytes: number;
    readonly warning?: string;
  };
  readonly loaded: readonly { readonly name: string; readonly engine: string; readonly bytes: number }[];
  readonly queue?: readonly { readonly model: string; readonly running: number; readonly waiting: number }[];
  readonly operations?: readonly { readonly title: string; readonly message?: string }[];
  readonly engines: readonly {
    readonly id: string;
    readonly health: string;
    readonly version?: string;
    readonly message?: string;
    readonly model_count: number;
  }[];
  readonly remote_requests: number;
  readonly warnings?: readonly string[];
}

/** `ollm status`. */
export function status(options: { readonly json?: boolean }, io: CommandIo): Promise<number> {
  return withSession(io, {}, async ({ call }) => {
    const { structured } = await call<Status>("system_status");
    show(structured, options, io, (now) => renderStatus(now, io));
    return 0;
  });
}

function renderStatus(now: Status, io: CommandIo): string {
  const { ram } = now;
  const swap = ram.swap_used_bytes > 0 ? `, swap ${formatBytes(ram.swap_used_bytes)}` : "";
  const counted = (count: number) => `${count} ${count === 1 ? "model" : "models"}`;
  const rows: readonly (readonly [string, string])[] = [
    ["memory", `${formatBytes(ram.available_bytes)} of ${formatBytes(ram.total_bytes)} free${swap}`],
    ["loaded", now.loaded.map(({ name, bytes }) => `${name} ${formatBytes(bytes)}`).join(", ") || "nothing"],
    ...now.engines.map(({ id, health, version, message, model_count }) => {
      const state = health === "ok" ? styled("ok", "green", io) : styled(health.replaceAll("_", " "), "yellow", io);
      const detail = [version, counted(model_count), message].filter((part) => part !== undefined).join("; ");
      return [id, `${state}; ${oneLine(detail)}`] as const;
    }),
    ...(now.queue ?? []).map(
      ({ model, running, waiting }) => ["queue", `${model}: ${running} running, ${waiting} waiting`] as const,
    ),
    ...(now.operations ?? []).map(({ title, message }) => ["at work", oneLine(message ?? title)] as const),
    ["privacy", `${now.privacy.replaceAll("_", " ")}; ${now.remote_requests} prompts left this machine`],
    ["home", `${now.home} (version ${now.version})`],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, value]) => `${styled(name.padEnd(width), "dim", io)}  ${value}`);
  const warnings = [ram.warning, ...(now.warnings ?? [])].filter((warning) => warning !== undefined);
  return `${[...lines, ...warnings.map((warning) => styled(`! ${warning}`, "yellow", io))].join("\n")}\n`;
}
