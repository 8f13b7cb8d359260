/**
 * `npm run agents [-- NAME... | --real [--weights FILE.gguf]]`: coding agents as they are published, started by the built
 * `ollm launch` on a scripted model behind the real door. Each reads two files, edits them, runs a command and ends; the
 * files are checked. `--real` does it once with a real model and the program that sends it least, and only prints what came
 * of it. Agents are installed on the first run. Exits with 1 when one fails.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { homedir, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { installTools, say } from "../conformance/judges.ts";
import { type ProgramName, launchPrograms } from "../src/cli/commands/launch-program.ts";
import { type FakeOpenAi, startFakeOpenAi } from "../test/support/fake-openai.ts";
import { type Agent, after, agents, before, prompt } from "./programs.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const installed = join(here, "node_modules");
const cli = fileURLToPath(new URL("../dist/cli.mjs", import.meta.url));
const scriptedModel = "scripted";
/** What the scripted model says when it has called all tools. */
const lastWords = "Both files are joined.";
const realModel = "qwen2.5-coder:1.5b";
const limitMs = 120_000;
/** A processor reads thousands of tokens for minutes. */
const realLimitMs = 30 * 60_000;

interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A home of its own, cleared of what the user has, with the daemon of the build. */
class World {
  readonly folder: string;
  readonly work: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Hosts that were asked for through the proxy that the environment names, and refused. */
  readonly refused: Set<string>;
  readonly #proxy: ReturnType<typeof createServer>;

  private constructor(folder: string, proxy: ReturnType<typeof createServer>, refused: Set<string>, real: boolean) {
    this.folder = folder;
    this.work = join(folder, "work");
    this.#proxy = proxy;
    this.refused = refused;
    this.environment = {
      HOME: folder,
      OLLM_HOME: join(folder, ".ollm"),
      OLLM_PROVIDERS_OLLAMA_ENABLED: "false",
      PATH: [join(folder, "bin"), "/usr/bin", "/bin"].join(":"),
      LANG: "C.UTF-8",
      TERM: "xterm-256color",
      // The embedded engine is installed from npm's cache or registry.
      ...(real
        ? { npm_config_cache: join(homedir(), ".npm"), ...registryIn(process.env) }
        : { OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false" }),
    };
  }

  static async open(settings: object, real: boolean): Promise<World> {
    const folder = await realpath(await mkdtemp(join(tmpdir(), "ollm-agents-")));
    const refused = new Set<string>();
    const proxy = createServer((request, response) => {
      refused.add(new URL(request.url ?? "/", "http://unknown").host);
      response.writeHead(403).end();
    });
    proxy.on("connect", ({ url = "" }, socket) => {
      refused.add(url.replace(/:443$/, ""));
      socket.on("error", () => undefined);
      socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
    });
    proxy.listen(0, "127.0.0.1");
    await once(proxy, "listening");
    const world = new World(folder, proxy, refused, real);
    await mkdir(join(folder, ".ollm"), { mode: 0o700 });
    await writeFile(join(folder, ".ollm", "config.yaml"), JSON.stringify(settings));
    await mkdir(join(folder, "bin"));
    await symlink(nodeForAgents(), join(folder, "bin", "node"));
    return world;
  }

  /** Puts a program on PATH. Throws with the reason why it can't run here. */
  async install(name: string, { files, settings = {} }: Agent): Promise<void> {
    const platform = `${process.platform}-${process.arch}`;
    const [file] = files(platform)
      .map((each) => join(installed, each))
      .filter((each) => existsSync(each));
    if (file === undefined) throw new Error(`its package for ${platform} is not there: ${files(platform).join(", ")}`);
    await symlink(file, join(this.folder, "bin", name));
    for (const [path, content] of Object.entries(settings)) {
      await mkdir(dirname(join(this.folder, path)), { recursive: true });
      await writeFile(join(this.folder, path), JSON.stringify(content));
    }
  }

  /** The work folder as a run begins. */
  async reset(): Promise<void> {
    await rm(this.work, { recursive: true, force: true });
    await mkdir(this.work);
    for (const [name, text] of Object.entries(before)) await writeFile(join(this.work, name), text);
  }

  /** What is not as it must be, one sentence each. */
  async problems(): Promise<readonly string[]> {
    const found: string[] = [];
    for (const [name, text] of Object.entries(after)) {
      const now = await readFile(join(this.work, name), "utf8").catch(() => undefined);
      if (now !== text) found.push(`${name} is ${now === undefined ? "missing" : JSON.stringify(now)}`);
    }
    return found;
  }

  async ollm(words: readonly string[], limit: number, variables: Readonly<Record<string, string>> = {}): Promise<Ran> {
    const env = { ...this.environment, ...variables };
    const child = spawn(process.execPath, [cli, ...words], {
      cwd: this.work,
      env,
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const stop = setTimeout(() => void stopped(child), limit);
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    const [code] = (await once(child, "close")) as [number | null];
    clearTimeout(stop);
    return { code, stdout, stderr };
  }

  /** Runs a program; whatever it asks for elsewhere is refused. */
  launch(name: ProgramName, model: string, limit: number): Promise<Ran> {
    const through = `http://127.0.0.1:${(this.#proxy.address() as AddressInfo).port}`;
    const variables = { ...agents[name].variables, HTTPS_PROXY: through, HTTP_PROXY: through };
    return this.ollm(["launch", name, "--model", model, "--", ...agents[name].arguments(prompt)], limit, variables);
  }

  async close(): Promise<void> {
    await this.ollm(["daemon", "stop"], 30_000);
    this.#proxy.close();
    this.#proxy.closeAllConnections();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

/** Ends a run: `ollm launch` passes the signal on, which some programs take no notice of. */
async function stopped(child: ChildProcess): Promise<void> {
  child.kill("SIGTERM");
  const timer = setTimeout(() => process.kill(-(child.pid ?? 0), "SIGKILL"), 5_000);
  await once(child, "close");
  clearTimeout(timer);
}

function registryIn(environment: NodeJS.ProcessEnv): Record<string, string> {
  const kept = Object.entries(environment).filter(([name]) =>
    /^(npm_config_.*|https?_proxy|no_proxy|NODE_EXTRA_CA_CERTS)$/i.test(name),
  );
  return Object.fromEntries(kept.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));
}

/** Some need Node 22: this one, or the one that is installed beside them. */
function nodeForAgents(): string {
  const own = join(installed, `node-${process.platform}-${process.arch}`, "bin", "node");
  return Number(process.versions.node.split(".")[0]) < 22 && existsSync(own) ? own : process.execPath;
}

/** Makes the scripted model call the tools of one program, in turn: a conversation with N results is answered with call N. */
function script(engine: FakeOpenAi, turns: ReturnType<Agent["turns"]>): void {
  engine.reset();
  engine.models.set(scriptedModel, {
    id: scriptedModel,
    contextTokens: 131_072,
    script({ messages, tools }) {
      const turn = turns[messages.filter(({ role }) => role === "tool").length];
      // Titles and notes are conversations of their own.
      return turn !== undefined && tools.some(({ name }) => name === turn.name)
        ? { calls: [{ name: turn.name, arguments: turn.input }] }
        : { text: lastWords };
    },
  });
}

async function version(name: ProgramName): Promise<string> {
  const file = join(installed, launchPrograms[name].package, "package.json");
  return (JSON.parse(await readFile(file, "utf8")) as { version: string }).version;
}

/** One line per program. Returns whether all that can run here did it. */
async function runScripted(names: readonly ProgramName[]): Promise<boolean> {
  const engine = await startFakeOpenAi({ dialect: "cloud", models: [{ id: scriptedModel, contextTokens: 131_072 }] });
  const model = { name: scriptedModel, contextTokens: 131_072, capabilities: ["completion", "tools"] };
  const server = { id: "script", kind: "local", trust: "local", baseUrl: engine.baseUrl, models: [model] };
  const world = await World.open({ providers: { openai: [server] } }, false);
  let isGood = true;
  try {
    for (const name of names) {
      const agent = agents[name];
      try {
        await world.install(name, agent);
      } catch (error) {
        say(`${name}: did not run: ${error instanceof Error ? error.message : String(error)}`);
        continue;
      }
      await world.reset();
      world.refused.clear();
      script(engine, agent.turns(world.work));
      const startedAt = performance.now();
      const ran = await world.launch(name, scriptedModel, limitMs);
      const problems = [
        ...(ran.code === 0 ? [] : [`ended with ${ran.code}`]),
        ...(ran.stdout.includes(lastWords) ? [] : ["the last answer is not in its output"]),
        ...(await world.problems()),
      ];
      const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
      const title = `${name} ${await version(name)}`;
      const asked = engine.requests.filter(({ path }) => path === "/v1/chat/completions").length;
      const elsewhere = world.refused.size === 0 ? "" : `; asked in vain for ${[...world.refused].join(", ")}`;
      if (problems.length === 0)
        say(`${title}: read, edited two files, ran a command, ended: ${asked} requests, ${seconds} s${elsewhere}`);
      else {
        isGood = false;
        say(`${title}: FAILED: ${problems.join("; ")}${elsewhere}\n${tail(ran.stdout)}\n${tail(ran.stderr)}`);
      }
    }
  } finally {
    await world.close();
    await engine.close();
  }
  return isGood;
}

function tail(text: string): string {
  return text.trim().split("\n").slice(-15).join("\n");
}

/** The program that sends the least, with a real model in the embedded engine: what comes of it is printed. */
async function runReal(weights: string): Promise<void> {
  const [name = "cline"] = (Object.keys(agents) as ProgramName[]).toSorted(
    (a, b) => launchPrograms[a].firstTokens - launchPrograms[b].firstTokens,
  );
  const world = await World.open({}, true);
  try {
    await world.reset();
    await world.install(name, agents[name]);
    const imported = await world.ollm(["import", resolve(weights), realModel], 10 * 60_000);
    if (imported.code !== 0) throw new Error(`the weights can't be imported: ${tail(imported.stderr)}`);
    const startedAt = performance.now();
    const ran = await world.launch(name, realModel, realLimitMs);
    const problems = await world.problems();
    const seconds = Math.round((performance.now() - startedAt) / 1_000);
    say(`${name} ${await version(name)} with ${realModel}: ended with ${ran.code} after ${seconds} s`);
    say(problems.length === 0 ? "all of it was done" : `not done: ${problems.join("; ")}`);
    say(`${tail(ran.stderr)}\n${tail(ran.stdout)}`);
    // What it asked for, how long each took, and what came of it.
    say(tail(await readFile(join(world.folder, ".ollm", "logs", "calls.log"), "utf8")));
  } finally {
    await world.close();
  }
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { real: { type: "boolean", default: false }, weights: { type: "string" } },
  });
  const names = Object.keys(agents) as ProgramName[];
  const unknown = positionals.filter((name) => !names.includes(name as ProgramName));
  if (unknown.length > 0) throw new Error(`no agent ${unknown.join(", ")}; there are ${names.join(", ")}`);
  if (process.platform === "win32") {
    say("agents: nothing ran: their scripts are for a POSIX shell");
    return 0;
  }
  await installTools(here, ["node_modules/.package-lock.json"], "coding agents (agents, 2 GB)", [
    "install",
    "--no-save",
  ]);
  if (values.real) {
    if (values.weights === undefined)
      throw new Error("--real needs --weights FILE.gguf of Qwen2.5-Coder-1.5B-Instruct");
    await runReal(values.weights);
    return 0;
  }
  return (await runScripted(names.filter((name) => positionals.length === 0 || positionals.includes(name)))) ? 0 : 1;
}

process.exitCode = await main().catch((error: unknown) => {
  say(`agents: ${error instanceof Error ? error.message : String(error)}`);
  return 1;
});
