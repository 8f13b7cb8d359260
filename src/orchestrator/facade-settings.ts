import type { CallerContext } from "./types.ts";

/** One setting with its value and where that comes from. */
export interface ShownSetting {
  /** `memory.bufferBytes`; `models["qwen*"].contextTokens` */
  readonly path: string;
  /** Secrets are masked. */
  readonly value: unknown;
  /** `default`, `OLLM_MODEL`, `--model`, `/home/me/.ollm/config.yaml:3`, `/project/.ollm/project.yaml:2` */
  readonly source: string;
  readonly scope: "daemon" | "caller" | "request";
}

/** `OLLM_HOME/config.yaml`, changed with its comments kept. */
export interface SettingsAccess {
  /** All, or those at and below a path. Throws `InvalidRequest` with the nearest path. */
  show(caller: CallerContext, path?: string): Promise<readonly ShownSetting[]>;
  /** Validated as a whole before anything is written; in force when it resolves. Throws `InvalidConfig`. */
  set(caller: CallerContext, path: string, value: unknown): Promise<ShownSetting>;
  unset(caller: CallerContext, path: string): Promise<ShownSetting>;
  /** Whether the user is asked before an assistant changes it: everything but the listed free settings. Throws as `show`. */
  isGuarded(path: string): boolean;
  /** Why the file as it is now is not obeyed; undefined when it is. */
  problem(): string | undefined;
}
