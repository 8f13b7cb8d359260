import type { CallerContext } from "./types.ts";

/** A setting with its value and the source of the value. */
export interface ShownSetting {
  /** `memory.bufferBytes`; `models["qwen*"].contextTokens` */
  readonly path: string;
  /** Secrets are masked. */
  readonly value: unknown;
  /** `default`, `OLLM_MODEL`, `--model`, `/home/me/.ollm/config.yaml:3`, `/project/.ollm/project.yaml:2` */
  readonly source: string;
  readonly scope: "daemon" | "caller" | "request";
}

/** Access to `OLLM_HOME/config.yaml`; changes preserve its comments. */
export interface SettingsAccess {
  /** All settings, or those at and below a path. Throws `InvalidRequest` with the nearest path. */
  show(caller: CallerContext, path?: string): Promise<readonly ShownSetting[]>;
  /** Validates the whole file before writing; the setting is in force when the promise resolves. Throws `InvalidConfig`. */
  set(caller: CallerContext, path: string, value: unknown): Promise<ShownSetting>;
  unset(caller: CallerContext, path: string): Promise<ShownSetting>;
  /** Whether an assistant may change it only after asking the user: all but the listed free settings. Throws like `show`. */
  isGuarded(path: string): boolean;
  /** Why the current file is not in force; undefined if it is. */
  problem(): string | undefined;
}
