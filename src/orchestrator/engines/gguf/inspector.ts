import { LRUCache } from "lru-cache";
import { spawn } from "node:child_process";
import { setMaxListeners } from "node:events";
import { stat } from "node:fs/promises";
import { bulkhead } from "cockatiel";
import { Cancelled, LoadFailed, OrchestratorError, throwIfCancelled } from "../../api/errors.ts";
import { advice } from "../../api/next-step.ts";
import { JoinedWorks } from "../../util/joined-work.ts";
import { crashReasonIn } from "../failures.ts";
import type { GgufAnswer, GgufHeader, InspectGguf } from "./header.ts";
import { within } from "../../util/timers.ts";
import { codeOf } from "../../util/values.ts";

interface GgufInspectorOptions {
  /** Absolute path of the built `gguf-child.mjs`. */
  readonly childEntry: string;
  /** A Node executable: in some desktop clients, `process.execPath` is not one. */
  readonly nodeExecutable: string;
  /** Limit for one file, with the start of its process. A normal header takes 50 ms, mostly Node's start. Default 5,000. */
  readonly timeoutMs?: number;
  /** Concurrent processes. Default 2. */
  readonly maxProcesses?: number;
  /** Size of all cached headers as JSON; the least recently used is dropped first. Default 4 MiB: about 2,000 headers. */
  readonly maxRememberedCharacters?: number;
  /** Environment, of which a few variables are passed to the child. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** More than any valid header needs; a damaged one must not exhaust the machine's memory. */
const childHeapMegabytes = 256;
/** Variables that Node needs to start on some systems; others could change its behavior (`NODE_OPTIONS`). */
const passedOn = ["SystemRoot", "SYSTEMROOT", "LD_LIBRARY_PATH", "ELECTRON_RUN_AS_NODE"];
/** Next steps for a file that can't be read. */
const unreadableSteps = [advice("download or copy the file again"), advice("check the disk that it is on")];

/**
 * Reads headers in separate processes and caches them by path, size and modification time. Calls for one file share a
 * process. An aborted call rejects with `Cancelled`; the process is killed when its last caller has left.
 */
export function createGgufInspector(options: GgufInspectorOptions): InspectGguf {
  const { timeoutMs = 5_000, maxProcesses = 2, maxRememberedCharacters = 4 * 1024 ** 2 } = options;
  const remembered = new LRUCache<string, GgufAnswer>({
    maxSize: maxRememberedCharacters,
    sizeCalculation: (each, key) => key.length + JSON.stringify(each).length,
  });
  const readings = new JoinedWorks<GgufHeader>("reading a GGUF header");
  const processes = bulkhead(maxProcesses, Number.POSITIVE_INFINITY);

  return async (file, signal) => {
    throwIfCancelled(signal, `reading ${file}`);
    // One request may list a hundred models with one signal; Node would report a leak at the eleventh listener.
    setMaxListeners(0, signal);
    const key = await identify(file, timeoutMs, signal);
    const known = remembered.get(key);
    if (known !== undefined) return headerIn(known, file);
    const read = async (shared: AbortSignal) => {
      // A damaged header stays damaged: it is not read again either.
      const answer = await readInChild(file, options, timeoutMs, shared);
      remembered.set(key, answer);
      return headerIn(answer, file);
    };
    const unlimited = Number.POSITIVE_INFINITY;
    return readings.join(
      key,
      // A call that waits for a process leaves at once.
      (shared) =>
        within(
          { ms: unlimited, signal: shared },
          () => processes.execute(() => read(shared), shared),
          () => cancelled(file, shared),
        ),
      signal,
    );
  };
}

function cancelled(file: string, { reason }: AbortSignal): never {
  throw new Cancelled(`reading ${file} was cancelled`, { cause: reason });
}

function headerIn(answer: GgufAnswer, file: string): GgufHeader {
  if ("header" in answer) return answer.header;
  throw new LoadFailed(`${file} can't be loaded: ${answer.damage}`, { next: unreadableSteps });
}

/** Returns a key for this version of a file. Throws `LoadFailed` unless it is a regular file: opening a pipe would hang. */
async function identify(file: string, timeoutMs: number, signal: AbortSignal): Promise<string> {
  const late = (): never => {
    if (signal.aborted) return cancelled(file, signal);
    throw new LoadFailed(`the disk of ${file} did not respond within ${timeoutMs / 1_000} s`, {
      next: unreadableSteps,
    });
  };
  const look = () => stat(file, { bigint: true });
  const found = await within({ ms: timeoutMs, signal }, look, late).catch((error: unknown) => {
    if (error instanceof OrchestratorError) throw error;
    if (codeOf(error) === "ENOENT")
      throw new LoadFailed(`${file} doesn't exist`, { next: unreadableSteps, cause: error });
    throw new LoadFailed(`${file} can't be read: ${String(error)}`, { next: unreadableSteps, cause: error });
  });
  if (!found.isFile()) throw new LoadFailed(`${file} is ${found.isDirectory() ? "a folder" : "not a regular file"}`);
  if (found.size === 0n) throw new LoadFailed(`${file} is empty (0 bytes)`, { next: unreadableSteps });
  return `${found.size}:${found.mtimeNs}:${file}`;
}

async function readInChild(file: string, options: GgufInspectorOptions, timeoutMs: number, signal: AbortSignal) {
  const environment = options.environment ?? process.env;
  const child = spawn(options.nodeExecutable, [`--max-old-space-size=${childHeapMegabytes}`, options.childEntry], {
    env: Object.fromEntries(passedOn.map((name) => [name, environment[name]])),
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    windowsHide: true,
  });
  let output = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (output = (output + text).slice(-2_000)));
  const failed = (what: string, cause?: unknown): LoadFailed =>
    new LoadFailed(`${file} can't be loaded: ${what}`, { next: unreadableSteps, cause });
  const answered = new Promise<GgufAnswer>((resolve, reject) => {
    child.on("error", (error) =>
      reject(failed(`the process that reads its header could not be started: ${error.message}`, error)),
    );
    child.on("message", (message) => resolve(message as GgufAnswer));
    // `close` follows the end of all its output, including the answer.
    child.on("close", (exitCode, killedBy) =>
      reject(failed(`the process that read its header ended (${killedBy ?? `code ${exitCode}`})${reasonIn(output)}`)),
    );
  });
  // If the process could not start or has ended, `error` or `close` follows.
  child.send(file, () => undefined);
  const late = (): never => {
    if (signal.aborted) throw new Cancelled(`reading ${file} was cancelled`);
    throw failed(`its header could not be read within ${timeoutMs / 1_000} s: it is damaged, or its disk hangs`);
  };
  try {
    return await within({ ms: timeoutMs, signal }, () => answered, late);
  } finally {
    // It has no state, and a hanging one can't end itself.
    child.kill("SIGKILL");
  }
}

function reasonIn(text: string): string {
  const reason = crashReasonIn(text.split("\n"));
  return reason === undefined ? "" : `: ${reason}`;
}
