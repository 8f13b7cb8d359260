import type { Templates } from "../facade-templates.ts";
import type { Change } from "../facade.ts";
import type { Log } from "../log.ts";

export interface TemplateParts {
  /** `OLLM_HOME/templates`. */
  readonly folder: string;
  readonly log: Log;
  readonly publish: (change: Change) => void;
}

export interface ClosableTemplates extends Templates {
  close(): void;
}

/** Reads folders when they are asked for, and again when they change. */
export function createTemplates(parts: TemplateParts): ClosableTemplates {
  parts.log.debug("templates: not built yet");
  const unbuilt = () => Promise.reject(new Error("templates: not built yet"));
  return { list: unbuilt, get: unbuilt, render: unbuilt, create: unbuilt, close: () => undefined };
}
