import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { command } from "./environment.ts";
import { createLineClient, introduction, type LineClient } from "./line-client.ts";
import type { Question } from "./probe.ts";

/** A start that takes longer than this hangs. */
const startLimitMs = 20_000;
const probe = new URL("probe.ts", import.meta.url).href;
const fakeProgram = fileURLToPath(new URL("../../test/support/fake-ollama.ts", import.meta.url));

/** Runs the fake engine as a process of its own, so that every way to it pays the same for it. */
export async function withFakeEngine<Result>(
  args: readonly string[],
  run: (url: string) => Promise<Result>,
): Promise<Result> {
  const fake = spawn(process.execPath, ["--import", "tsx", fakeProgram, "--port", "0", ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const [line]: unknown[] = await once(createInterface({ input: fake.stdout }), "line", {
      signal: AbortSignal.timeout(startLimitMs),
    });
    return await run((JSON.parse(String(line)) as { url: string }).url);
  } finally {
    await ended(fake, "SIGKILL");
  }
}

/** Settings under which the engine at `url` is the only one. */
export function onlyEngine(url: string): Record<string, string> {
  return { OLLM_HOST: url, OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false" };
}

/** A server over stdio that has been introduced to; ended and waited for when `run` is done. */
export async function withServer<Result>(
  args: readonly string[],
  environment: Record<string, string>,
  run: (client: LineClient) => Promise<Result>,
  workingDirectory?: string,
): Promise<Result> {
  const server = spawn(process.execPath, [command, ...args], {
    env: environment,
    stdio: ["pipe", "pipe", "inherit"],
    ...(workingDirectory !== undefined && { cwd: workingDirectory }),
  });
  const exited = once(server, "exit");
  const client = createLineClient(server.stdin, server.stdout);
  try {
    await client.request("initialize", introduction);
    return await run(client);
  } finally {
    server.stdin.end();
    await exited;
  }
}

/** A server over stdio that `ask` measures from inside (`probe.ts`); Node gets `nodeArgs`, `args` begin with the program. */
export async function withProbedServer<Result>(
  nodeArgs: readonly string[],
  args: readonly string[],
  environment: Record<string, string>,
  run: (client: LineClient, ask: (question: Question) => Promise<unknown>) => Promise<Result>,
): Promise<Result> {
  const server = spawn(process.execPath, [...nodeArgs, "--import", "tsx", "--import", probe, ...args], {
    env: environment,
    stdio: ["pipe", "pipe", "inherit", "ipc"],
  });
  const { stdin, stdout } = server;
  if (stdin === null || stdout === null) throw new Error("a server without streams"); // They are pipes.
  const exited = once(server, "exit");
  const client = createLineClient(stdin, stdout);
  try {
    await client.request("initialize", introduction);
    return await run(client, async (question) => {
      const answered = once(server, "message", { signal: AbortSignal.timeout(startLimitMs) });
      server.send(question);
      const [answer]: unknown[] = await answered;
      return answer;
    });
  } finally {
    stdin.end();
    await exited;
  }
}

/** Keeps a daemon of the home alive while `run` runs: a front of our own holds it. The daemon is stopped afterwards. */
export async function withDaemon<Result>(
  environment: Record<string, string>,
  run: (client: LineClient) => Promise<Result>,
  workingDirectory?: string,
): Promise<Result> {
  try {
    return await withServer([], environment, run, workingDirectory);
  } finally {
    const stop = spawn(process.execPath, [command, "daemon", "stop"], { env: environment, stdio: "ignore" });
    await once(stop, "exit");
  }
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const exited = once(child, "exit");
  child.kill(signal);
  await exited;
}

/** A program that prints a line of JSON and serves until it is ended. */
export async function withProgram<Result>(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  run: (line: Readonly<Record<string, string>>) => Promise<Result>,
): Promise<Result> {
  const program = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(program, "exit");
  try {
    const [line]: unknown[] = await once(createInterface({ input: program.stdout }), "line", {
      signal: AbortSignal.timeout(20_000),
    });
    return await run(JSON.parse(String(line)) as Record<string, string>);
  } finally {
    program.kill("SIGTERM");
    await exited;
  }
}

/** `ollm serve` of a home, until `run` is done; `run` gets its address. */
export async function withServe<Result>(
  env: Record<string, string>,
  run: (url: string) => Promise<Result>,
): Promise<Result> {
  try {
    const args = [command, "serve", "--port", "0", "--no-token", "--json"];
    return await withProgram(args, env, ({ url = "" }) => run(url));
  } finally {
    await once(spawn(process.execPath, [command, "daemon", "stop"], { env, stdio: "ignore" }), "exit");
  }
}
