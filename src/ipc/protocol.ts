import { fstatSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import type { ClaimRecord } from "./claim-record.ts";
import type { NextStep } from "../orchestrator/api/next-step.ts";
import { orUndefined } from "../orchestrator/util/values.ts";

/**
 * The handshake on the daemon's socket, before MCP: one JSON object a line, in both directions.
 *
 * | line | from → to      | content                                                                             |
 * | ---- | -------------- | ----------------------------------------------------------------------------------- |
 * | 1    | front → daemon | `Knock`: a nonce                                                                    |
 * | 2    | daemon → front | `Introduction`: its home and version, a nonce, proof that it reads the home's token |
 * | 3    | front → daemon | `Hello`: the front's proof, then its identity and purpose                           |
 * | 4    | daemon → front | `Welcome`                                                                           |
 *
 * An HMAC-SHA-256 under the home's token over both nonces and the home authenticates both sides: the daemon shows its
 * first half, the front its second. The front reveals nothing before the daemon has authenticated itself, and may send
 * what follows directly after its hello. With purpose `mcp`, MCP messages follow; a `Farewell` may come between them.
 * With `http` the connection is the lease: its end closes the listener. With `dashboard` the welcome has a link.
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

export interface Hello {
  readonly proof: string;
  readonly version: string;
  /** `restart`: stop at once; the caller starts the next daemon, so listeners and fronts wait for that one. */
  readonly purpose: "mcp" | "status" | "stop" | "restart" | "handover" | "http" | "dashboard";
  /** The folder in which the client started the front. */
  readonly workingDirectory: string;
  /** The front's command line, without node and script. */
  readonly arguments: readonly string[];
  /** The front's `OLLM_*` variables. */
  readonly environment: Readonly<Record<string, string>>;
  /** With purpose `http`. */
  readonly http?: {
    readonly bind: string;
    readonly port: number;
    /** For a loopback address only. */
    readonly isWithoutToken?: boolean;
    /** Protocols that it answers alone; absent: MCP, and those of the settings. */
    readonly doors?: readonly ("openai" | "anthropic" | "ollama")[];
  };
}

export type Welcome =
  | {
      readonly ok: true;
      /** Sentences for the user, shown on stderr, such as daemon settings that are ignored. */
      readonly notices?: readonly string[];
      readonly status?: DaemonStatus;
      readonly http?: {
        readonly url: string;
        readonly tokenFile: string;
        /** Protocols that are served beside MCP now. */
        readonly doors: NonNullable<NonNullable<Hello["http"]>["doors"]>;
      };
      /** With a one-time code in its fragment. */
      readonly dashboard?: { readonly url: string };
    }
  | {
      readonly ok: false;
      readonly message: string;
      readonly next?: readonly NextStep[];
      /** The caller's own arguments are invalid, so a retry is useless: the front ends with exit code 2. */
      readonly isUsage?: boolean;
    };

/** What `ollm daemon status --json` prints, beside `running`. */
export interface DaemonStatus extends Pick<
  ClaimRecord,
  "pid" | "version" | "socket" | "home" | "startedAt" | "isStandalone"
> {
  readonly clients: readonly { readonly client: string; readonly connectedAt: string }[];
  /** Open HTTP listeners. */
  readonly listeners: readonly string[];
  readonly loaded: readonly { readonly name: string; readonly engine: string; readonly bytes: number }[];
  readonly jobs: number;
  /** Titles of the running operations, jobs included: `pull smollm2:135m`. */
  readonly work: readonly string[];
  /** Problems of engines and pinned models, a sentence each; absent when none is known. */
  readonly problems?: readonly string[];
  /** Why the present `config.yaml` is not used, and what is used instead; absent while it is used. */
  readonly settingsProblem?: string;
  /** Settings that the daemon's own variables and flags fix: path to name. Absent until it has read them. */
  readonly fixedSettings?: Readonly<Record<string, string>>;
  /** Their values, passwords masked. */
  readonly fixedValues?: Readonly<Record<string, unknown>>;
}

/** A line between MCP messages: the daemon is about to close, and why. MCP messages never start like this. */
export interface Farewell {
  readonly ollm: "farewell";
  /** `handover`: a newer daemon starts; wait for it before starting one. */
  readonly reason: "handover" | "stop" | "idle";
  /**
   * Ids of the requests that this daemon has read and not answered. It has not seen any other open request, so those can
   * be sent to the next daemon. Unknown when absent.
   */
  readonly unanswered?: readonly (string | number)[];
}

/** The start of every line of the daemon that is not MCP. */
export const controlPrefix = '{"ollm":';

/**
 * Our standard streams. Pipes are opened as sockets, which costs less than `process.stdin` and `process.stdout`. Called
 * once, when there is a client to serve.
 */
export function openClientStreams(): { readonly input: Readable; readonly output: Writable } {
  return {
    input: isPipe(0) ? new Socket({ fd: 0, readable: true, writable: false }) : process.stdin,
    output: isPipe(1) ? new Socket({ fd: 1, readable: false, writable: true }) : process.stdout,
  };
}

function isPipe(descriptor: number): boolean {
  const facts = orUndefined(() => fstatSync(descriptor));
  return facts?.isFIFO() === true || facts?.isSocket() === true;
}
