/**
 * Entry of an engine process, which runs one model or one estimate, so that a corrupt file or a crash of llama.cpp never
 * reaches the server. Arguments: absolute path of node-llama-cpp's module, pid of the daemon, threads, and what computes:
 * `cpu`, `auto` (as the binaries do), or a card by `cuda` or `vulkan`.
 */
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { ChildFailure, createLogRing, loadErrorIn } from "./failure.ts";
import { type ChildModel, collectGarbage, estimate, loadModel, loadVocabulary } from "./load.ts";
import { Pause } from "./sequences.ts";
import type { Llama, NodeLlamaCpp } from "./node-llama-cpp.ts";
import type { Capacity, ChildControl, ChildEvent, ChildReply, ChildRequest, DoneOf } from "./protocol.ts";
import { defined, messageOf } from "../../../util/values.ts";

/**
 * Runs in its own thread, so that a busy event loop can't delay it. On Windows `ppid` doesn't change when the parent ends,
 * so the pid is checked there. Plain JavaScript, because the bundle is one file.
 */
const watcher = `
const daemon = Number(require("node:worker_threads").workerData);
const isGone = () => {
  if (process.platform !== "win32") return process.ppid !== daemon;
  try { process.kill(daemon, 0); return false; } catch (error) { return error.code === "ESRCH"; }
};
setInterval(() => { if (isGone()) process.kill(process.pid, "SIGKILL"); }, 500);
`;

/** Kills this process within a second of the end of the daemon, even if this process is busy. */
function watchDaemon(daemonPid: number): void {
  const worker = new Worker(watcher, {
    eval: true,
    workerData: daemonPid,
    stdout: false,
    resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 1 },
  });
  worker.unref();
}

const [modulePath = "", daemonPid = "", threads = "1", computes = "auto"] = process.argv.slice(2);
const log = createLogRing();
const running = new Map<number, { readonly controller: AbortController; readonly pause: Pause }>();
let model: ChildModel | undefined;
let collection: NodeJS.Timeout | undefined;

/** Errors may quote a schema or a file. */
const maxMessageCharacters = 2_000;

process.on("disconnect", () => process.exit(0));
watchDaemon(Number(daemonPid));
// Ctrl-C in a terminal reaches the whole process group; the daemon ends this process in order. A file that may not grow
// further is a failed write.
for (const signal of ["SIGINT", "SIGXFSZ"]) process.on(signal, () => undefined);

function send(reply: ChildReply): void {
  // The daemon may have ended; `disconnect` follows.
  if (process.connected) process.send?.(reply, undefined, undefined, () => undefined);
}

const noCard = "it found no graphics card that it can use, or only full ones";

async function open(): Promise<{ readonly library: NodeLlamaCpp; readonly llama: Llama }> {
  const library = (await import(pathToFileURL(modulePath).href)) as NodeLlamaCpp;
  const card = computes === "cuda" || computes === "vulkan" ? computes : undefined;
  const starting = library.getLlama({
    gpu: card ?? (computes === "cpu" ? false : "auto"),
    build: "never",
    skipDownload: true,
    progressLogs: false,
    logLevel: "warn",
    maxThreads: Number(threads),
    // The daemon keeps the end of stderr, also when this process crashes.
    logger(level, message) {
      const line = `[${level}] ${message.trimEnd()}\n`;
      log.add(line);
      process.stderr.write(line);
    },
  });
  if (card === undefined) return { library, llama: await starting };
  const llama = await starting.catch((error: unknown) => {
    throw new Error(whyNotLoaded(card) ?? messageOf(error).replace("NoBinaryFoundError", noCard), { cause: error });
  });
  // Vulkan also starts without a card, CUDA on a full one.
  if (llama.gpu !== card || (await llama.getVramState()).total === 0) throw new Error(noCard);
  return { library, llama };
}

/** What the system's loader says of a card's library, which node-llama-cpp keeps to itself: `libcudart.so.13: cannot open …`. */
function whyNotLoaded(card: string): string | undefined {
  const isWindows = process.platform === "win32";
  const name = `${isWindows ? "win" : process.platform}-${process.arch}-${card}`;
  const file = isWindows ? `ggml-${card}.dll` : `libggml-${card}.so`;
  try {
    process.dlopen({ exports: {} }, join(dirname(modulePath), "../../@node-llama-cpp", name, "bins", name, file));
  } catch (error) {
    const text = messageOf(error).split("\n")[0];
    return /did not self-register/.test(text ?? "") ? undefined : text;
  }
  return undefined;
}

const opened = open();
opened.then(
  () => {
    collectGarbage();
    send({ type: "ready" });
  },
  (error: unknown) => send({ type: "broken", message: messageOf(error) }),
);

async function run(
  request: ChildRequest,
  emit: (event: ChildEvent) => void,
  signal: AbortSignal,
  pause: Pause,
): Promise<DoneOf[ChildRequest["type"]]> {
  const { library, llama } = await opened;
  if (request.type === "estimate") return await estimate(library, llama, request, log.lines);
  if (request.type === "load") {
    try {
      model = await loadModel(library, llama, request, emit, signal, reportCapacity);
    } catch (error) {
      if (signal.aborted) throw new ChildFailure("cancelled", "cancelled", { cause: error });
      throw new ChildFailure("load_failed", loadErrorIn(log.lines()) ?? loadMessageOf(error), { cause: error });
    }
    reportCapacity();
    return { contextTokens: request.contextTokens };
  }
  if (request.type === "vocabulary") {
    model = await loadVocabulary(library, llama, request.file);
    return undefined;
  }
  const done =
    request.type === "generate"
      ? model?.generate?.(request, emit, signal, pause)
      : request.type === "embed"
        ? model?.embed?.(request.inputs, signal)
        : request.type === "count-prompt"
          ? model?.countPrompt(request)
          : model?.count(request.text);
  if (done === undefined) throw new Error(`nothing is loaded for ${request.type}`);
  return await done;
}

let reported: Capacity = { sequences: 1, together: 1 };

/** After each change: memory is planned with it, and answers wait by it. */
function reportCapacity(): void {
  const { sequences, together } = model?.capacity ?? reported;
  if (sequences === reported.sequences && together === reported.together) return;
  reported = { sequences, together };
  send({ type: "capacity", ...reported });
}

async function answer(id: number, request: ChildRequest): Promise<void> {
  const controller = new AbortController();
  const emit = (event: ChildEvent) => send({ ...event, id });
  const pause = new Pause(emit, controller.signal);
  running.set(id, { controller, pause });
  try {
    const value = await run(request, emit, controller.signal, pause);
    reportCapacity();
    if (request.type === "load" || request.type === "estimate") collectGarbage();
    send({ type: "done", id, value });
  } catch (error) {
    const failure = error instanceof ChildFailure ? error : new ChildFailure("failed", messageOf(error));
    const { code, promptTokens, contextTokens } = failure;
    const message = failure.message.slice(0, maxMessageCharacters);
    send({ type: "failed", id, code, message, ...defined({ promptTokens, contextTokens }) });
  } finally {
    running.delete(id);
    collectLater();
  }
}

/** Callers who ask at the same time come back sooner. */
const shrinkMs = 60_000;

/**
 * Writes what was read, and collects garbage, after an idle second, so that no request waits for it; after an idle minute gives
 * back the memory of several sequences.
 */
function collectLater(): void {
  clearTimeout(collection);
  const isIdle = () => running.size === 0;
  const collect = async () => {
    const own = collection;
    await model?.save?.(isIdle);
    if (!isIdle() || collection !== own) return;
    collectGarbage();
    if (model?.capacity !== undefined && model.capacity.sequences > 1)
      collection = setTimeout(() => void shrink(), shrinkMs);
  };
  const shrink = async () => {
    shrinking = model?.shrink?.(isIdle);
    await shrinking;
    collectGarbage();
  };
  collection = setTimeout(() => void collect(), 1_000);
}

let shrinking: Promise<void> | undefined;

/** A request that still runs is not waited for. */
async function leave(): Promise<never> {
  if (running.size === 0 && model !== undefined) {
    send({ type: "saving" });
    await shrinking;
    await model.save?.(() => true);
  }
  process.exit(0);
}

process.on("message", (message: (ChildRequest & { readonly id: number }) | ChildControl) => {
  if (message.type === "exit") void leave();
  else if (message.type === "cancel")
    running.get(message.id)?.controller.abort(new ChildFailure("cancelled", "cancelled"));
  else if (message.type === "pause") running.get(message.id)?.pause.ask();
  else if (message.type === "resume") running.get(message.id)?.pause.end();
  else void answer(message.id, message);
});

/** The library throws a TypeError or RangeError when it computes with invalid values of a header. */
function loadMessageOf(error: unknown): string {
  const isDefect = error instanceof TypeError || error instanceof RangeError;
  return isDefect ? "its header has values that the engine can't use" : messageOf(error);
}
