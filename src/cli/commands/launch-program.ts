import { spawn } from "node:child_process";
import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { constants as system, tmpdir } from "node:os";
import path from "node:path";
import { httpTokenFile } from "../../ipc/socket-path.ts";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { type CommandIo, homeOf } from "../terminal/io.ts";

/** What a program is started with. */
interface Target {
  /** The address of the listener: `http://127.0.0.1:4711`. */
  readonly url: string;
  readonly model: string;
  /** The widest window that fits: programs shorten their conversation before it is full. */
  readonly contextTokens: number;
}

interface Start {
  /** Before the arguments that the user gives. */
  readonly arguments: readonly string[];
  readonly variables: Readonly<Record<string, string>>;
  /** The variable that gets the token. It is no argument, since other users see those. */
  readonly tokenVariable: string;
  /** Variables that would send the program elsewhere, or with other credentials. */
  readonly without?: readonly string[];
  /** A variable that names a file, and the file's JSON. */
  readonly file?: { readonly variable: string; readonly content: object };
}

export interface Program {
  readonly title: string;
  /** On npm. */
  readonly package: string;
  readonly door: "anthropic" | "openai";
  /** Instructions and tools of its first request in an empty folder (measured 2026-11, at 4 bytes a token). */
  readonly firstTokens: number;
  readonly start: (target: Target) => Start;
}

/** A slow model reads for minutes before its first token, for which programs have limits of their own. */
const patienceMs = 3_600_000;
/** The part of the window that an answer may take; the rest is for the conversation. */
const answerShare = 4;

/**
 * How each program is sent to a loopback address for one run, by what outranks its own files, and with its telemetry off
 * where that takes no file.
 */
export const launchPrograms = {
  claude: {
    title: "Claude Code",
    package: "@anthropic-ai/claude-code",
    door: "anthropic",
    firstTokens: 22_000,
    start: ({ url, model, contextTokens }) => ({
      // Outranks variables in the user's own settings, which would outrank those of the process.
      arguments: [
        "--settings",
        JSON.stringify({
          env: { ANTHROPIC_BASE_URL: url, ANTHROPIC_MODEL: model, ANTHROPIC_API_KEY: "" },
          apiKeyHelper: "",
        }),
        "--model",
        model,
        // Its own default asks the model whether a call is risky, which a small one can't say.
        "--permission-mode",
        "default",
      ],
      variables: {
        ANTHROPIC_BASE_URL: url,
        ...Object.fromEntries(
          ["OPUS", "SONNET", "HAIKU", "FABLE"].map((tier) => [`ANTHROPIC_DEFAULT_${tier}_MODEL`, model]),
        ),
        CLAUDE_CODE_SUBAGENT_MODEL: model,
        CLAUDE_CODE_MAX_CONTEXT_TOKENS: String(contextTokens),
        CLAUDE_CODE_MAX_OUTPUT_TOKENS: String(Math.floor(contextTokens / answerShare)),
        API_TIMEOUT_MS: String(patienceMs),
        CLAUDE_STREAM_IDLE_TIMEOUT_MS: String(patienceMs),
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
        DISABLE_TELEMETRY: "1",
        DISABLE_AUTOUPDATER: "1",
      },
      tokenVariable: "ANTHROPIC_AUTH_TOKEN",
      without: [
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_CUSTOM_HEADERS",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "CLAUDE_CODE_USE_BEDROCK",
        "CLAUDE_CODE_USE_VERTEX",
        "CLAUDE_CODE_USE_FOUNDRY",
      ],
    }),
  },
  codex: {
    title: "Codex",
    package: "@openai/codex",
    door: "openai",
    firstTokens: 10_000,
    start: ({ url, model, contextTokens }) => ({
      arguments: Object.entries({
        model_provider: '"ollm"',
        "model_providers.ollm": `{name="ollm",base_url="${url}/v1",wire_api="responses",env_key="CODEX_OLLM_KEY",stream_idle_timeout_ms=${patienceMs}}`,
        model: JSON.stringify(model),
        model_context_window: String(contextTokens),
        check_for_update_on_startup: "false",
        "analytics.enabled": "false",
        "features.plugins": "false",
        "features.apps": "false",
        web_search: '"disabled"',
      }).flatMap(([key, value]) => ["-c", `${key}=${value}`]),
      variables: {},
      tokenVariable: "CODEX_OLLM_KEY",
    }),
  },
  opencode: {
    title: "opencode",
    package: "opencode-ai",
    door: "openai",
    firstTokens: 8_000,
    start: ({ url, model, contextTokens }) => {
      const limit = { context: contextTokens, output: Math.floor(contextTokens / answerShare) };
      const name = `ollm/${model}`;
      const config = {
        autoupdate: false,
        share: "disabled",
        enabled_providers: ["ollm"],
        provider: {
          ollm: {
            npm: "@ai-sdk/openai-compatible",
            name: "ollm",
            options: { baseURL: `${url}/v1`, apiKey: "{env:OPENCODE_OLLM_KEY}", timeout: patienceMs },
            models: { [model]: { name: model, limit, tool_call: true } },
          },
        },
        model: name,
        small_model: name,
      };
      return {
        arguments: [],
        variables: {
          OPENCODE_CONFIG_CONTENT: JSON.stringify(config),
          OPENCODE_DISABLE_MODELS_FETCH: "1",
          OPENCODE_DISABLE_AUTOUPDATE: "1",
        },
        tokenVariable: "OPENCODE_OLLM_KEY",
      };
    },
  },
  qwen: {
    title: "Qwen Code",
    package: "@qwen-code/qwen-code",
    door: "openai",
    firstTokens: 19_000,
    start: ({ url, model, contextTokens }) => ({
      arguments: ["--auth-type", "openai", "--openai-base-url", `${url}/v1`, "--model", model],
      variables: {
        QWEN_CODE_MAX_OUTPUT_TOKENS: String(Math.floor(contextTokens / answerShare)),
        QWEN_STREAM_IDLE_TIMEOUT_MS: String(patienceMs),
        QWEN_STREAM_MAX_LIFETIME_MS: String(patienceMs),
        QWEN_USAGE_STATISTICS_ENABLED: "false",
      },
      tokenVariable: "OPENAI_API_KEY",
    }),
  },
  cline: {
    title: "Cline",
    package: "cline",
    door: "openai",
    firstTokens: 5_500,
    start: ({ url, model, contextTokens }) => ({
      arguments: [],
      variables: { CLINE_NO_AUTO_UPDATE: "1", CLINE_SESSION_BACKEND_MODE: "local" },
      tokenVariable: "OPENAI_API_KEY",
      file: {
        variable: "CLINE_PROVIDER_SETTINGS_PATH",
        content: {
          version: 1,
          lastUsedProvider: "openai-compatible",
          modes: {},
          providers: {
            "openai-compatible": {
              settings: {
                provider: "openai-compatible",
                model,
                baseUrl: `${url}/v1`,
                contextWindow: contextTokens,
                maxTokens: Math.floor(contextTokens / answerShare),
                timeout: patienceMs,
              },
              updatedAt: "2026-01-01T00:00:00.000Z",
              tokenSource: "manual",
            },
          },
        },
      },
    }),
  },
} satisfies Readonly<Record<string, Program>>;

export type ProgramName = keyof typeof launchPrograms;

/** Node's own and npm's names of a program on Windows; a `.cmd` can't be started without a shell. */
const windowsEndings = [".exe", ".cmd"];

/** How the program is started: from the folders of PATH, and on Windows what npm's script there starts. */
export function programAt(
  name: ProgramName,
  { package: packageName }: Pick<Program, "package">,
  { environment, platform, workingDirectory }: Pick<CommandIo, "environment" | "platform" | "workingDirectory">,
): readonly string[] | undefined {
  const isWindows = platform === "win32";
  const given =
    Object.entries(environment).find(([key]) => (isWindows ? key.toUpperCase() : key) === "PATH")?.[1] ?? "";
  for (const folder of given.split(isWindows ? ";" : ":").filter((part) => part !== "")) {
    for (const ending of isWindows ? windowsEndings : [""]) {
      const file = path.resolve(workingDirectory, folder, `${name}${ending}`);
      if (!isProgram(file, isWindows)) continue;
      if (ending !== ".cmd") return [file];
      const own = path.join(path.dirname(file), "node_modules", packageName);
      try {
        const { bin } = JSON.parse(readFileSync(path.join(own, "package.json"), "utf8")) as {
          bin: Record<string, string>;
        };
        const script = path.join(own, bin[name] ?? "");
        return /\.[cm]?js$/.test(script) ? [process.execPath, script] : [script];
      } catch {
        continue;
      }
    }
  }
  return undefined;
}

function isProgram(file: string, isWindows: boolean): boolean {
  try {
    if (!isWindows) accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** Runs the program with a listener that is open as long as it runs; returns its exit code. */
export async function runProgram(
  [command = "", ...words]: readonly string[],
  { door, start: startOf }: Program,
  target: Omit<Target, "url">,
  io: CommandIo,
): Promise<number> {
  const { holdListener } = await import("./serve.ts");
  const ended = new AbortController();
  const folder = await mkdtemp(path.join(tmpdir(), "ollm-launch-"));
  try {
    return await new Promise<number>((resolve, reject) => {
      holdListener({
        io,
        http: { bind: "127.0.0.1", port: 0, doors: [door] },
        // The terminal is the program's.
        say: () => undefined,
        signal: ended.signal,
        opened({ url, tokenFile }) {
          const start = startOf({ ...target, url });
          const token = readFileSync(tokenFile, "utf8").trim();
          environmentOf(start, token, folder, io).then(
            (env) => resolve(exitOf(command, [...start.arguments, ...words], env, io)),
            reject,
          );
        },
      }).catch(reject);
    });
  } finally {
    ended.abort();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Ours, changed for this run. */
async function environmentOf(
  { variables, tokenVariable, without = [], file }: Start,
  token: string,
  folder: string,
  { environment }: CommandIo,
): Promise<NodeJS.ProcessEnv> {
  const kept = Object.entries(environment).filter(([name]) => !without.includes(name));
  const written = file && path.join(folder, "settings.json");
  if (file !== undefined && written !== undefined)
    await writeFile(written, JSON.stringify(file.content), { mode: 0o600 });
  return {
    ...Object.fromEntries(kept),
    ...variables,
    ...(file && { [file.variable]: written }),
    // A proxy would be sent the prompts.
    ...noProxy(environment),
    [tokenVariable]: token,
  };
}

function noProxy(environment: CommandIo["environment"]): Record<string, string> {
  const names = ["NO_PROXY", "no_proxy"];
  const [before] = names.flatMap((name) => environment[name] ?? []);
  const value = [...(before === undefined || before === "" ? [] : [before]), "127.0.0.1", "localhost"].join(",");
  return Object.fromEntries(names.map((name) => [name, value]));
}

/** Resolves with the exit code, for a signal as shells do: 128 and its number. */
function exitOf(
  command: string,
  words: readonly string[],
  env: NodeJS.ProcessEnv,
  { workingDirectory: cwd, isTerminal }: CommandIo,
): Promise<number> {
  const child = spawn(command, words, { env, cwd, stdio: "inherit" });
  const names = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const passOn = (name: NodeJS.Signals): void => {
    // The terminal sends an interrupt to both.
    if (name !== "SIGINT" || !isTerminal) child.kill(name);
  };
  for (const name of names) process.on(name, passOn);
  return new Promise<number>((resolve, reject) => {
    child.once("error", (error) => reject(new OrchestratorError(`${command} can't be started: ${error.message}`)));
    child.once("exit", (code, signal) => resolve(code ?? 128 + (system.signals[signal ?? "SIGTERM"] ?? 0)));
  }).finally(() => {
    for (const name of names) process.off(name, passOn);
  });
}

/** What would be started, as words of a shell; the token is named by its file. */
export function printed(
  { variables, tokenVariable, without = [], file }: Start,
  words: readonly string[],
  door: string,
  io: CommandIo,
): string {
  const isWindows = io.platform === "win32";
  const quoted = (text: string): string => `'${text.replaceAll("'", isWindows ? "''" : `'\\''`)}'`;
  const word = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : quoted(text));
  const tokenFile = quoted(httpTokenFile(homeOf(io)));
  const set = { ...variables, ...(file && { [file.variable]: "FILE" }) };
  const lines = isWindows
    ? [
        ...without.map((name) => `Remove-Item -ErrorAction Ignore Env:${name}`),
        ...Object.entries(set).map(([name, value]) => `$env:${name} = ${quoted(value)}`),
        `$env:${tokenVariable} = Get-Content -LiteralPath ${tokenFile}`,
        words.map(word).join(" "),
      ]
    : [
        ["env", ...without.map((name) => `-u ${name}`)].join(" "),
        ...Object.entries(set).map(([name, value]) => `  ${name}=${word(value)}`),
        `  ${tokenVariable}="$(cat ${tokenFile})"`,
        `  ${words.map(word).join(" ")}`,
      ];
  const json = file === undefined ? [] : [`FILE: ${JSON.stringify(file.content)}`];
  return [
    `# with ollm serve running and http.doors: [${door}]; ollm launch opens a listener of its own`,
    lines.join(isWindows ? "\n" : " \\\n"),
    ...json,
    "",
  ].join("\n");
}
