import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const command = fileURLToPath(new URL("../dist/cli.mjs", import.meta.url));
/** A program that takes longer to start hangs. */
const startLimitMs = 30_000;

/** Runs `work` with a temporary home and an environment without the user's settings, and removes the home afterwards. */
export async function withTemporaryHome<Result>(
  work: (environment: Record<string, string>) => Promise<Result>,
): Promise<Result> {
  const home = await mkdtemp(join(tmpdir(), "ollm-conformance-"));
  const kept = ["PATH", "SystemRoot", "TEMP", "TMP", "TMPDIR"].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const environment = {
    ...Object.fromEntries(kept),
    HOME: home,
    USERPROFILE: home,
    OLLM_HOME: join(home, ".ollm"),
    // No engine is called: the suite tests the protocol.
    OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false",
    OLLM_HOST: "http://127.0.0.1:9",
  };
  try {
    return await work(environment);
  } finally {
    // A daemon outlives its clients, and would write into a home that is being removed.
    const stopping = spawn(process.execPath, [command, "daemon", "stop"], { env: environment, stdio: "ignore" });
    await once(stopping, "exit");
    await rm(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

/** A started program whose first line of output is a JSON object. */
export interface Started<Line> {
  readonly line: Line;
  /** Asks it to end and waits until it has. */
  stop(): Promise<void>;
}

/** Starts `args` with Node and reads its first line. Throws when it exits or prints nothing in time. */
export async function start<Line>(
  args: readonly string[],
  environment: Record<string, string>,
): Promise<Started<Line>> {
  const child = spawn(process.execPath, args, { env: environment, stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(child, "exit");
  const lines = createInterface({ input: child.stdout });
  const died = ended.then(() => {
    throw new Error(`${args.join(" ")} exited before it printed its address`);
  });
  died.catch(() => undefined);
  const [line] = (await Promise.race([once(lines, "line", { signal: AbortSignal.timeout(startLimitMs) }), died])) as [
    string,
  ];
  return { line: JSON.parse(line) as Line, stop: () => stop(child, ended) };
}

async function stop(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  child.kill("SIGTERM");
  const kill = setTimeout(() => child.kill("SIGKILL"), 5_000);
  await ended;
  clearTimeout(kill);
}
