import type { NextStep } from "../orchestrator/next-step.ts";
/**
 * What is said on the daemon's socket before MCP is spoken: one JSON object a line, both ways.
 *
 * | line | from → to      | says                                                                                |
 * | ---- | -------------- | ----------------------------------------------------------------------------------- |
 * | 1    | front → daemon | `Knock`: a nonce                                                                    |
 * | 2    | daemon → front | `Introduction`: its home and version, a nonce, proof that it reads the home's token |
 * | 3    | front → daemon | `Hello`: the same proof from the other side, then who it is and what it wants       |
 * | 4    | daemon → front | `Welcome`                                                                           |
 *
 * HMAC-SHA-256 under the home's token over both nonces and the home proves both: the daemon shows its first half, the
 * front its second. The front says nothing of itself before the daemon has proved itself, and may send what follows
 * right behind its hello. With purpose `mcp`, MCP messages follow; `Farewell` may come between them. With `http` the
 * connection is the lease: its end closes the listener.
 */
export interface Knock {
  readonly ollm: 1;
  readonly nonce: string;
}

export interface Introduction {
  readonly ollm: 1;
  /** `OLLM_HOME` with links resolved. */
  readonly home: string;
  /** Version and build: `0.1.0+3f9a1c2b`. */
  readonly version: string;
  readonly pid: number;
  readonly nonce: string;
  readonly proof: string;
}

/** `restart`: stop at once, but whoever asks starts the next daemon, so listeners and fronts wait for that one. */
export type Purpose = "mcp" | "status" | "stop" | "restart" | "handover" | "http";

export interface Hello {
  readonly proof: string;
  readonly version: string;
  readonly purpose: Purpose;
  /** Folder in which the client started the front. */
  readonly workingDirectory: string;
  /** The front's command line, without node and script. */
  readonly arguments: readonly string[];
  /** Its `OLLM_*` variables. */
  readonly environment: Readonly<Record<string, string>>;
  /** Of purpose `http`. */
  readonly http?: {
    readonly bind: string;
    readonly port: number;
    /** Of a loopback address only. */
    readonly isWithoutToken?: boolean;
  };
}

export type Welcome =
  | {
      readonly ok: true;
      /** Sentences for the user, on stderr: daemon settings that are ignored, and the like. */
      readonly notices?: readonly string[];
      readonly status?: DaemonStatus;
      readonly http?: { readonly url: string; readonly tokenFile: string };
    }
  | {
      readonly ok: false;
      readonly message: string;
      readonly next?: readonly NextStep[];
      /** The caller's own arguments are wrong, so asking again is no use: the front ends with exit code 2. */
      readonly isUsage?: boolean;
    };

/** What `ollm daemon status --json` prints, beside `running`. */
export interface DaemonStatus {
  readonly pid: number;
  readonly version: string;
  readonly socket: string;
  readonly home: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly isStandalone: boolean;
  readonly clients: readonly { readonly client: string; readonly connectedAt: string }[];
  /** Open HTTP listeners. */
  readonly listeners: readonly string[];
  readonly loaded: readonly { readonly name: string; readonly engine: string; readonly bytes: number }[];
  readonly jobs: number;
  /** What is wrong with engines and pinned models, a sentence each; absent when nothing is known to be. */
  readonly problems?: readonly string[];
  /** Why `config.yaml` as it is now is not obeyed, and what holds instead; absent while it is. */
  readonly settingsProblem?: string;
  /**
   * Settings that the daemon's own variables and flags set, before the file: path to name. Absent until it has read
   * them.
   */
  readonly fixedSettings?: Readonly<Record<string, string>>;
  /** Their values, passwords masked. */
  readonly fixedValues?: Readonly<Record<string, unknown>>;
}

/** A line of the daemon between MCP messages: it is about to close, and why. MCP messages never start like this. */
export interface Farewell {
  readonly ollm: "farewell";
  /** `handover`: a newer daemon comes; wait for it before starting one. */
  readonly reason: "handover" | "stop" | "idle";
  /**
   * Ids of the requests that this daemon has read and not answered. Whatever else is open it has never seen, so the
   * next one may be asked. Absent: nothing is known.
   */
  readonly unanswered?: readonly (string | number)[];
}

/** Every line of the daemon that is not MCP starts like this. */
export const controlPrefix = '{"ollm":';
