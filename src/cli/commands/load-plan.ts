import { formatBytes } from "../../orchestrator/util/format-bytes.ts";
import type { ToolAnswers } from "../../tools/index.ts";
import type { CommandIo } from "../terminal/io.ts";
import { hanging } from "../terminal/terminal-text.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";

/** Sources of an estimate. */
const origins: Readonly<Record<string, string>> = {
  configured: "from the settings",
  learned: "as reported by the engine for an earlier load",
  simulated: "simulated by the engine's own allocator",
  computed: "computed from the model's metadata",
  size_rule: "from the file size only",
};

/** The verdict, the calculation with a line for each step, and the source of the estimate. */
export function renderPlannedLoad(
  { model, loaded, method, margin, parts, plan }: ToolAnswers["smart_load"],
  io: Pick<CommandIo, "columns">,
): string {
  if (plan === undefined) return "";
  // Loaded, remote or without an estimate: one sentence.
  if (loaded || plan.needed_bytes === 0 || plan.steps.length === 1) return `${oneLine(plan.steps.join("; "))}\n`;
  const made = Object.entries(parts ?? {}).flatMap(([name, bytes]) =>
    bytes === undefined ? [] : [`${name} ${formatBytes(bytes)}`],
  );
  const estimate = `${origins[method] ?? method}${margin > 0 ? `, ±${Math.round(margin * 1_000) / 10} %` : ""}`;
  return [
    `${oneLine(model)} ${plan.fits ? "fits" : "does not fit"}`,
    ...plan.steps.map((step) => hanging("  ", step, io)),
    hanging("estimate ", `${estimate}${made.length === 0 ? "" : `: ${made.join(", ")}`}`, io),
    ...(plan.warnings ?? []).map((warning) => hanging("! ", warning, io)),
    "",
  ].join("\n");
}
