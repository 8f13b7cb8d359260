import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import type { NextSteps } from "../../orchestrator/api/next-step.ts";

export interface LinePosition {
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
}

/** A file that its client can't parse either, or that can't be edited safely; it is not changed. */
export class BrokenConfig extends InvalidRequest {
  readonly position: LinePosition;

  constructor(what: string, position: LinePosition, next?: NextSteps) {
    super(what, { next });
    this.position = position;
  }
}

export function linePosition(text: string, offset: number): LinePosition {
  const before = text.slice(0, offset);
  return { line: before.split("\n").length, column: offset - before.lastIndexOf("\n") };
}

/** The first line break of the text; `\n` if it has none. */
export function newlineOf(text: string): "\n" | "\r\n" {
  return /\r?\n/.exec(text)?.[0] === "\r\n" ? "\r\n" : "\n";
}

/** The indentation of the line at `offset`. */
export function lineIndent(text: string, offset: number): string {
  return /^[ \t]*/.exec(text.slice(text.lastIndexOf("\n", offset - 1) + 1, offset))?.[0] ?? "";
}
