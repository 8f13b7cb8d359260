import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";

/** One load whose memory is asked for. */
export interface AllocatorLoad {
  readonly contextTokens: number;
  readonly batchTokens: number;
  readonly parallel: number;
  readonly cacheType: "f16" | "q8_0" | "q4_0";
}

export interface AllocatorRequest {
  readonly file: string;
  readonly loads: readonly AllocatorLoad[];
}

export type AllocatorReply =
  | { readonly kind: "weights" | "load"; readonly bytes: number }
  | { readonly kind: "failed" | "ended"; readonly message: string }
  | { readonly kind: "done" };

/** The allocator's result for one file; `bytes` in the order of the loads, undefined where it couldn't simulate one. */
interface AllocatorReading {
  readonly weightsBytes?: number;
  readonly bytes: readonly (number | undefined)[];
  /** Why, of the last load that couldn't be simulated. */
  readonly failure?: string;
}

export interface Allocator {
  read(request: AllocatorRequest): Promise<AllocatorReading>;
  close(): void;
}

const program = fileURLToPath(new URL("allocator-process.ts", import.meta.url));
/** Processes that one file may end. */
const attempts = 3;
/** For one load; the slowest shapes take half a second. */
const limitMs = 60_000;

/** A process and its unread messages. */
interface Talk {
  readonly process: ChildProcess;
  next(): Promise<AllocatorReply>;
}

function startTalk(modulePath: string): Talk {
  const child = fork(program, [modulePath], { execArgv: ["--import", "tsx"], stdio: ["ignore", 2, "ignore", "ipc"] });
  const replies: AllocatorReply[] = [];
  let take: ((reply: AllocatorReply) => void) | undefined;
  const put = (reply: AllocatorReply): void => {
    if (take === undefined) replies.push(reply);
    else take(reply);
    take = undefined;
  };
  child.on("message", (reply: AllocatorReply) => put(reply));
  // After its last message: no further results will arrive.
  child.once("close", () => put({ kind: "ended", message: "the allocator ended its process" }));
  return {
    process: child,
    next() {
      const reply = replies.shift();
      if (reply !== undefined) return Promise.resolve(reply);
      return new Promise((resolve) => {
        const timer = setTimeout(() => child.kill("SIGKILL"), limitMs);
        take = (arrived) => {
          clearTimeout(timer);
          resolve(arrived);
        };
      });
    },
  };
}

/** One process for all files, another one when a file ended it. `modulePath`: of the installed engine. */
export function createAllocator(modulePath: string): Allocator {
  let talk: Talk | undefined;

  /** Until the file is done, or has ended the process at one of its loads. */
  async function readSome(request: AllocatorRequest): Promise<AllocatorReading> {
    const current = (talk ??= startTalk(modulePath));
    current.process.send(request);
    const bytes: (number | undefined)[] = [];
    let weightsBytes: number | undefined;
    let failure: string | undefined;
    for (;;) {
      const reply = await current.next();
      if (reply.kind === "weights") weightsBytes = reply.bytes;
      if (reply.kind === "load") bytes.push(reply.bytes);
      if (reply.kind === "failed" || reply.kind === "ended") {
        failure = reply.message;
        bytes.push(undefined);
      }
      if (reply.kind === "ended") talk = undefined;
      if (reply.kind === "ended" || reply.kind === "done")
        return {
          ...(weightsBytes === undefined ? {} : { weightsBytes }),
          bytes,
          ...(failure === undefined ? {} : { failure }),
        };
    }
  }

  return {
    async read({ file, loads }) {
      let reading = await readSome({ file, loads });
      // Loads after the one that ended the process are run in another process, as long as each makes progress.
      for (let attempt = 1; attempt < attempts && reading.bytes.length < loads.length; attempt += 1) {
        if (reading.weightsBytes === undefined) break;
        const more = await readSome({ file, loads: loads.slice(reading.bytes.length) });
        reading = { ...reading, ...more, bytes: [...reading.bytes, ...more.bytes] };
      }
      return reading;
    },
    close: () => void talk?.process.kill(),
  };
}
