import { formatBytes } from "../../orchestrator/util/format-bytes.ts";
import type { ToolAnswers } from "../../tools/index.ts";
import type { CommandIo } from "../terminal/io.ts";
import { withSession } from "../terminal/session.ts";
import { show } from "./show.ts";
import { renderFacts, type Fact } from "../terminal/table.ts";
import { hanging, styled } from "../terminal/terminal-text.ts";
import { counted } from "../../orchestrator/util/counted.ts";

type Status = ToolAnswers["system_status"];

/** `ollm status`. */
export function status(options: { readonly json?: boolean }, io: CommandIo): Promise<number> {
  return withSession(io, {}, async ({ call, isNews }) => {
    const { structured } = await call("system_status", {});
    show(structured, options, io, (now) =>
      renderStatus({ ...now, warnings: (now.warnings ?? []).filter((warning) => isNews(warning)) }, io),
    );
    return 0;
  });
}

export function renderStatus(now: Status, io: CommandIo): string {
  const { ram } = now;
  const swap = ram.swap_used_bytes > 0 ? `, swap ${formatBytes(ram.swap_used_bytes)}` : "";
  const facts: readonly Fact[] = [
    {
      name: "memory",
      value: `${formatBytes(ram.available_bytes)} of ${formatBytes(ram.total_bytes)} available${swap}`,
    },
    ...(now.gpus ?? []).map(({ name, total_bytes, free_bytes }) => ({
      name: "card",
      value: `${name}, ${free_bytes === undefined ? "" : `${formatBytes(free_bytes)} free of `}${formatBytes(total_bytes)}`,
    })),
    {
      name: "loaded",
      value:
        now.loaded
          .map(({ name, bytes, is_pinned }) => `${name} ${formatBytes(bytes)}${is_pinned === true ? " (pinned)" : ""}`)
          .join(", ") || "nothing",
    },
    ...now.engines.map(({ id, health, version, message, model_count }) => ({
      name: id,
      value: [health.replaceAll("_", " "), version, counted(model_count, "model"), message]
        .filter((part) => part !== undefined)
        .join("; "),
      style: health === "ok" ? ("green" as const) : ("yellow" as const),
    })),
    ...(now.queue ?? []).map(({ model, running, waiting }) => ({
      name: "queue",
      value: `${model}: ${running} running, ${waiting} waiting`,
    })),
    ...(now.operations ?? []).map(({ title, message }) => ({ name: "running", value: message ?? title })),
    {
      name: "privacy",
      value: `${now.privacy.replaceAll("_", " ")}; ${counted(now.remote_requests, "prompt")} left this machine`,
    },
    { name: "home", value: `${now.home} (version ${now.version})` },
  ];
  // Includes the warning about memory.
  const warnings = now.warnings ?? [];
  const warned = warnings.map((warning) => `${styled(hanging("! ", warning, io), "yellow", io)}\n`);
  return `${renderFacts(facts, io)}${warned.join("")}`;
}
