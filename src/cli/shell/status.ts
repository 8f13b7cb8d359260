import { formatBytes } from "../../orchestrator/text/format-bytes.ts";
import type { CommandIo } from "../commands/io.ts";
import { withSession } from "./session.ts";
import { inShellWords } from "./shell-words.ts";
import { show } from "./show.ts";
import { hanging, renderFacts, styled, type Fact } from "./table.ts";

/** `system_status`. */
interface Status {
  readonly version: string;
  readonly home: string;
  readonly privacy: string;
  readonly ram: {
    readonly total_bytes: number;
    readonly available_bytes: number;
    readonly swap_used_bytes: number;
  };
  readonly loaded: readonly {
    readonly name: string;
    readonly engine: string;
    readonly bytes: number;
    readonly is_pinned?: boolean;
  }[];
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
  return withSession(io, {}, async ({ call, isNews }) => {
    const { structured } = await call<Status>("system_status");
    show(structured, options, io, (now) =>
      renderStatus({ ...now, warnings: (now.warnings ?? []).filter((warning) => isNews(warning)) }, io),
    );
    return 0;
  });
}

export function renderStatus(now: Status, io: CommandIo): string {
  const { ram } = now;
  const swap = ram.swap_used_bytes > 0 ? `, swap ${formatBytes(ram.swap_used_bytes)}` : "";
  const counted = (count: number) => `${count} ${count === 1 ? "model" : "models"}`;
  const facts: readonly Fact[] = [
    {
      name: "memory",
      value: `${formatBytes(ram.available_bytes)} of ${formatBytes(ram.total_bytes)} available${swap}`,
    },
    {
      name: "loaded",
      value:
        now.loaded
          .map(({ name, bytes, is_pinned }) => `${name} ${formatBytes(bytes)}${is_pinned === true ? " (pinned)" : ""}`)
          .join(", ") || "nothing",
    },
    ...now.engines.map(({ id, health, version, message, model_count }) => ({
      name: id,
      value: [health.replaceAll("_", " "), version, counted(model_count), message && inShellWords(message)]
        .filter((part) => part !== undefined)
        .join("; "),
      style: health === "ok" ? ("green" as const) : ("yellow" as const),
    })),
    ...(now.queue ?? []).map(({ model, running, waiting }) => ({
      name: "queue",
      value: `${model}: ${running} running, ${waiting} waiting`,
    })),
    ...(now.operations ?? []).map(({ title, message }) => ({ name: "at work", value: message ?? title })),
    { name: "privacy", value: `${now.privacy.replaceAll("_", " ")}; ${now.remote_requests} prompts left this machine` },
    { name: "home", value: `${now.home} (version ${now.version})` },
  ];
  // That of the memory is among them.
  const warnings = now.warnings ?? [];
  const warned = warnings.map((warning) => `${styled(hanging("! ", inShellWords(warning), io), "yellow", io)}\n`);
  return `${renderFacts(facts, io)}${warned.join("")}`;
}
