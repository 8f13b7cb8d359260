import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, readdir, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { screenAsSvg, themes } from "../scripts/terminal-svg.ts";
import { installedEngine } from "../test/support/engine.ts";
import { type FakeOllama, startFakeOllama } from "../test/support/fake-ollama.ts";
import { type Finding, type Play, type Protocol, ScriptedModels, type Turn } from "./models.ts";
import { Terminal } from "./terminal.ts";

export const here = fileURLToPath(new URL(".", import.meta.url));
export const cli = fileURLToPath(new URL("../dist/cli.mjs", import.meta.url));

/** How a program is started without questions, or in a terminal. */
export interface Assistant extends Finding {
  readonly title: string;
  /** Package and version. */
  readonly npm: readonly [name: string, version: string];
  /** In `node_modules`, for a platform such as `linux-x64`; the first that is there. */
  files(platform: string): readonly string[];
  readonly protocol: Protocol;
  /** Its name for `ollm setup --client`. */
  readonly client: string;
  /** Its files in the home, by path, before set-up. */
  settings(at: Places): Readonly<Record<string, string>>;
  variables(at: Places): Readonly<Record<string, string>>;
  /** The arguments of a run that ends by itself. */
  once(prompt: string, at: Places): readonly string[];
  readonly chat: Chat;
  /** What its model calls one of our tools. */
  tool(name: string): string;
  /** How its model reads a file whole, where `ollm setup --plugin` has a hook for that. */
  read?(file: string): Turn;
  /** How its model reads a resource, if it can. */
  resource?(uri: string): Turn;
}

export interface Places {
  /** Of the scripted model. */
  readonly url: string;
  readonly home: string;
  readonly work: string;
}

interface Chat {
  words(at: Places): readonly string[];
  /** It takes a prompt now. */
  readonly ready: RegExp;
  readonly cancel: readonly string[];
  /** What it says then, where it doesn't tell the server. */
  readonly stopped?: RegExp;
  /** The form on its screen, and the keys that answer it, one after the other. */
  readonly form?: { readonly shown: RegExp; readonly accept: readonly string[]; readonly decline: readonly string[] };
  /** What a person types for a prompt of the server with its first argument, where there are such commands. */
  command?(prompt: string, argument: string): string;
  /** It asks its user before some calls. */
  readonly asks?: { readonly shown: RegExp; readonly yes: string };
}

export interface Ran {
  readonly code: number | null;
  readonly output: string;
}

const limitMs = 120_000;
/** What `files` of the work folder hold, so that it can be found in what a model behind ollm was sent. */
export const inNotes = "The heron nests at lock seventeen.";
export const inDiff = "The ferry leaves at half past nine.";
/** A text of a hundred lines of the engine. */
const longReply = Array.from({ length: 100 }, (_, at) => `word${at}`).join(" ");
/** As many words as the prompt has in its last number. */
export const counted = (prompt: string): string =>
  Array.from({ length: Number(prompt.match(/\d+/g)?.at(-1)) }, (_, at) => `n${at}`).join(" ");
const oneMegabyte = 1_000_000;

/** The home of one assistant, with a model on either side. */
export class World {
  readonly models: ScriptedModels;
  /** Hosts that were asked for through the proxy that the environment names, and refused. */
  readonly refused = new Set<string>();
  readonly #proxy = createServer((request, response) => {
    this.refused.add(new URL(request.url ?? "/", "http://unknown").host);
    response.writeHead(403).end();
  });
  readonly assistant: Assistant;
  readonly folder: string;
  readonly ollama: FakeOllama;
  readonly #file: string;

  readonly #isPictured: boolean;

  private constructor(assistant: Assistant, folder: string, ollama: FakeOllama, file: string, isPictured: boolean) {
    this.#isPictured = isPictured;
    this.assistant = assistant;
    this.models = new ScriptedModels(assistant);
    this.folder = folder;
    this.ollama = ollama;
    this.#file = file;
  }

  static async open(
    assistant: Assistant,
    file: string,
    { isPictured, weights }: { readonly isPictured: boolean; readonly weights: string | undefined },
  ): Promise<World> {
    const folder = await realpath(await mkdtemp(join(tmpdir(), "ollm-assistants-")));
    const model = { sizeBytes: 100 * oneMegabyte };
    const ollama = await startFakeOllama({
      models: [
        { ...model, name: "smollm2:135m", reply: longReply },
        { ...model, name: "huge:1b", reply: counted, contextTokens: 131_072 },
        { ...model, name: "second:1b" },
        { ...model, name: "spare:1b" },
        { ...model, name: "extra:1b" },
      ],
      loadDelayMs: 1_000,
    });
    const world = new World(assistant, folder, ollama, file, isPictured);
    await world.models.start();
    world.#proxy.on("connect", ({ url = "" }, socket) => {
      world.refused.add(url.replace(/:443$/, ""));
      socket.on("error", () => undefined);
      socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
    });
    world.#proxy.listen(0, "127.0.0.1");
    await once(world.#proxy, "listening");
    for (const name of ["bin", "home/.ollm", "work", "other"]) await mkdir(join(folder, name), { recursive: true });
    await symlink(nodeForAssistants(), join(folder, "bin", "node"));
    const isEmbedded = weights !== undefined;
    if (isEmbedded) await symlink((await installedEngine()).enginesFolder, join(folder, "home/.ollm/engines"));
    const settings = {
      providers: { ollama: { host: ollama.url, enabled: !isEmbedded }, llamaCpp: { enabled: isEmbedded } },
      ...(!isEmbedded && { jobs: { patience: 3 } }),
    };
    await world.write(".ollm/config.yaml", JSON.stringify(settings));
    for (const [path, text] of Object.entries(assistant.settings(world.places))) await world.write(path, text);
    for (const work of [world.places.work, join(folder, "other")]) {
      await writeFile(join(work, "notes.txt"), `${inNotes}\n`);
      await writeFile(join(work, "plan.txt"), "The ferry leaves at eight.\n");
      const git = ["-c", "user.name=me", "-c", "user.email=me@example.com"];
      for (const words of [
        ["init", "-q"],
        ["add", "."],
        [...git, "commit", "-qm", "start"],
      ])
        await world.run("git", words, { cwd: work });
      await writeFile(join(work, "plan.txt"), `${inDiff}\n`);
    }
    return world;
  }

  get places(): Places {
    return { url: this.models.url, home: join(this.folder, "home"), work: join(this.folder, "work") };
  }

  /** Variables of the next runs. */
  more: Readonly<Record<string, string>> = {};

  get #environment(): Record<string, string> {
    const proxy = `http://127.0.0.1:${(this.#proxy.address() as AddressInfo).port}`;
    return {
      HOME: this.places.home,
      PATH: [join(this.folder, "bin"), "/usr/bin", "/bin"].join(":"),
      LANG: "C.UTF-8",
      TERM: "xterm-256color",
      COLORTERM: "truecolor",
      SHELL: "/bin/sh",
      HTTPS_PROXY: proxy,
      HTTP_PROXY: proxy,
      NO_PROXY: "127.0.0.1,localhost",
      DISABLE_TELEMETRY: "1",
      DISABLE_AUTOUPDATER: "1",
      DO_NOT_TRACK: "1",
      ...this.assistant.variables(this.places),
      ...this.more,
    };
  }

  async write(path: string, text: string): Promise<void> {
    const file = join(this.places.home, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  }

  /** All files of the home but ollm's own, by path. */
  async files(): Promise<ReadonlyMap<string, string>> {
    const { home } = this.places;
    const entries = await readdir(home, { recursive: true, withFileTypes: true });
    const found = entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(home.length + 1))
      .filter((path) => !path.startsWith(".ollm/"));
    return new Map(
      await Promise.all(found.map(async (path) => [path, await readFile(join(home, path), "latin1")] as const)),
    );
  }

  ollm(...words: readonly string[]): Promise<Ran> {
    return this.run(process.execPath, [cli, ...words]);
  }

  /** The process that holds the home; undefined when none runs. */
  async daemonPid(): Promise<number | undefined> {
    const { output } = await this.ollm("daemon", "status", "--json");
    return (JSON.parse(output) as { pid?: number }).pid;
  }

  /** Runs the assistant to its end on a prompt that plays `turns`. */
  once(row: string, play: Play, folder = this.places.work): Promise<Ran> {
    this.models.plays.set(row, play);
    const words = this.assistant.once(`Please do this: [[${row}]]`, this.places);
    return this.run(this.#file, words, { cwd: folder });
  }

  /** With `--pictures`: what a terminal shows now, from a text on, as docs/images/assistant-NAME-THEME.svg. */
  async picture(name: string, terminal: Terminal, from: string): Promise<void> {
    if (!this.#isPictured) return;
    const shorten = (text: string): string => text.replaceAll(this.folder, "/home/me");
    for (const [theme, colours] of Object.entries(themes)) {
      const command = this.assistant.client.replace(/-code$/, "");
      const svg = screenAsSvg(terminal.buffer, { command, columns: terminal.columns, colours, shorten, from });
      await writeFile(join(here, `../docs/images/assistant-${name}-${theme}.svg`), svg);
    }
  }

  chat(): Terminal {
    const options = { cwd: this.places.work, env: this.#environment };
    return new Terminal(this.#file, this.assistant.chat.words(this.places), options);
  }

  /** Runs a program to its end; `started` is called with its process. */
  async run(
    file: string,
    words: readonly string[],
    { cwd = this.places.work, started }: { cwd?: string; started?: (pid: number) => void } = {},
  ): Promise<Ran> {
    const child = spawn(file, words, {
      cwd,
      env: this.#environment,
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    if (child.pid !== undefined) started?.(child.pid);
    const stop = setTimeout(() => process.kill(-(child.pid ?? 0), "SIGKILL"), limitMs);
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
    const [code] = (await once(child, "close")) as [number | null];
    clearTimeout(stop);
    return { code, output };
  }

  /** Ends all that was started with this home, whatever its parent is now. */
  async close(): Promise<void> {
    await this.ollm("daemon", "stop");
    for (let tries = 0; tries < 20; tries += 1) {
      const left = await this.#processes();
      if (left.length === 0) break;
      for (const pid of left) end(pid);
      await delay(100);
    }
    this.models.close();
    this.#proxy.close();
    this.#proxy.closeAllConnections();
    await this.ollama.close();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }

  /** Processes whose environment has this home; Linux only. */
  async #processes(): Promise<readonly number[]> {
    const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
    const ours = await Promise.all(
      pids.map(async (pid) => {
        const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
        return environment.split("\0").includes(`HOME=${this.places.home}`) ? [Number(pid)] : [];
      }),
    );
    return ours.flat();
  }
}

export function end(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}

/** Some need Node 22: this one, or the one that is installed beside this. */
function nodeForAssistants(): string {
  const own = join(here, "node_modules", `node-${process.platform}-${process.arch}`, "bin", "node");
  return Number(process.versions.node.split(".")[0]) < 22 && existsSync(own) ? own : process.execPath;
}
