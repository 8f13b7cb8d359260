import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type ProgramName, launchPrograms } from "../src/cli/commands/launch-program.ts";
import { type Agent, after, agents, before, prompt } from "./programs.ts";

export const here = fileURLToPath(new URL(".", import.meta.url));
export const installed = join(here, "node_modules");
const cli = fileURLToPath(new URL("../dist/cli.mjs", import.meta.url));

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A home of its own, cleared of what the user has, with the daemon of the build. */
export class World {
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

  ollm(words: readonly string[], limit: number, variables: Readonly<Record<string, string>> = {}): Promise<Ran> {
    return this.run(process.execPath, [cli, ...words], limit, variables);
  }

  /** `ollm serve` at any free port; `stop` ends it. */
  async serve(): Promise<{ readonly url: string; readonly token: string; stop(): Promise<void> }> {
    const child = spawn(process.execPath, [cli, "serve", "--port", "0", "--json"], {
      env: this.environment,
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
    const { url, token_file: file } = JSON.parse(line) as { readonly url: string; readonly token_file: string };
    return { url, token: (await readFile(file, "utf8")).trim(), stop: () => stopped(child) };
  }

  /** Runs a program to its end in the work folder. */
  async run(
    file: string,
    words: readonly string[],
    limit: number,
    variables: Readonly<Record<string, string>> = {},
  ): Promise<Ran> {
    const env = { ...this.environment, ...variables };
    const child = spawn(file, words, {
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

  /** Variables that send what a program asks for elsewhere to where it is refused. */
  get proxied(): Readonly<Record<string, string>> {
    const through = `http://127.0.0.1:${(this.#proxy.address() as AddressInfo).port}`;
    return { HTTPS_PROXY: through, HTTP_PROXY: through };
  }

  launch(name: ProgramName, model: string, limit: number): Promise<Ran> {
    const variables = { ...agents[name].variables, ...this.proxied };
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

export async function version(name: ProgramName): Promise<string> {
  const file = join(installed, launchPrograms[name].package, "package.json");
  return (JSON.parse(await readFile(file, "utf8")) as { version: string }).version;
}

export function tail(text: string): string {
  return text.trim().split("\n").slice(-15).join("\n");
}
