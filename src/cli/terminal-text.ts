import { randomInt } from "node:crypto";
import { commandSteps } from "../next-steps/commands.ts";
import { renderSteps, withSteps, type StepTable } from "../next-steps/render.ts";
import type { NextStep } from "../orchestrator/next-step.ts";
import { withoutControls } from "../orchestrator/text/control-characters.ts";

/** Marks our own control sequences until they are written. Random for each process, so that no text can imitate it. */
const mark = Array.from({ length: 3 }, () => randomInt(1_000, 10_000)).join(";");
const ours = new RegExp(String.raw`\u001B\[${mark};(\d*)([AGJm])`, "g");

/** Cursor up, to the start of the line, erase downwards (ECMA-48), and the style of what follows. */
export type Control = "A" | "G" | "J" | "m";

/** A control sequence of our own, marked so that `terminalText` keeps it. */
export function control(kind: Control, value: number | "" = ""): string {
  return `\u001B[${mark};${value}${kind}`;
}

/**
 * Removes control characters from a text, and turns our own marked sequences into those of terminals. All output of the
 * shell passes through here (`processIo`), so views need not clean anything. A sequence split over two calls is harmless
 * too: each control character is dropped by itself.
 */
export function terminalText(text: string): string {
  const parts = text.split(ours);
  // Text, then value, kind and text of each sequence.
  let written = withoutControls(parts[0] ?? "");
  for (let index = 1; index < parts.length; index += 3) {
    const [value = "", kind = "", behind = ""] = parts.slice(index, index + 3);
    // A carriage return works in every terminal.
    written += kind === "G" ? "\r" : `\u001B[${value}${kind}`;
    written += withoutControls(behind);
  }
  return written;
}

/** An error as text. Lines after the first are indented, so that no name in it can imitate a line of ours. */
export function errorText(
  error: { readonly message: string; readonly next?: readonly NextStep[] },
  steps: StepTable = commandSteps,
): string {
  const lines = withSteps(error, steps, "\n").split(/\r?\n/);
  return `ollm: ${lines.join("\n  ")}\n`;
}

/** An error's next steps as an indented line; empty where there are none. */
export function hintLine({ next = [] }: { readonly next?: readonly NextStep[] }): string {
  return next.length === 0 ? "" : `  ${renderSteps(next, commandSteps)}\n`;
}
