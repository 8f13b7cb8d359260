import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setup } from "../../src/cli/setup/setup.ts";
import type { checkLaunch } from "../../src/cli/setup/check-clients.ts";
import type { createEmbeddedEngine } from "../../src/cli/setup/setup-guide.ts";
import type { Backend, Card } from "../../src/orchestrator/engines/llama-cpp/install/platform.ts";
import type { Launch } from "../../src/cli/setup/launch.ts";
import type { CommandIo } from "../../src/cli/terminal/io.ts";

type SetupWorld = NonNullable<Parameters<typeof setup>[2]>;

type EmbeddedEngine = ReturnType<typeof createEmbeddedEngine>;
type EngineState = Awaited<ReturnType<EmbeddedEngine["look"]>>;

export interface SetupGiven {
  /** A person's input, in order; empty if there is no terminal. */
  readonly answers?: readonly string[];
  readonly check?: (launch: Launch) => Awaited<ReturnType<typeof checkLaunch>>;
  readonly environment?: Record<string, string>;
  readonly script?: string;
  readonly onAsk?: () => Promise<void>;
  readonly engine?: EngineState;
  readonly card?: Card;
  readonly install?: () => Promise<void>;
  readonly build?: string;
  /** Width of the terminal. */
  readonly columns?: number;
  /** Folders that may be cleared. */
  readonly temporaryFolders?: readonly string[];
  /** No model is there at the end. */
  readonly hasNoModel?: true;
}

/** Writes a file of the home, with its folders; returns its path. */
export async function writeIn(home: string, name: string, text: string): Promise<string> {
  const file = join(home, name);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
  return file;
}

/** Runs setup on a machine of `platform` linux whose home is the temporary folder. */
export async function runSetup(home: string, options: Parameters<typeof setup>[0], given: SetupGiven) {
  const output = {
    stdout: "",
    stderr: "",
    asked: [] as string[],
    checked: [] as Launch[],
    installs: 0,
    installed: [] as (Backend | undefined)[],
    chosen: [] as Backend[],
    models: [] as { mayAsk: boolean; program: string }[],
  };
  const answers = [...(given.answers ?? [])];
  const io: CommandIo = {
    stdout: (text) => void (output.stdout += text),
    content: (text) => void (output.stdout += text),
    stderr: (text) => void (output.stderr += text),
    environment: { PATH: "/usr/bin", ...given.environment },
    workingDirectory: home,
    userHome: home,
    platform: "linux",
    isTerminal: given.answers !== undefined,
    columns: given.columns,
    errorColumns: given.columns,
    ask: async (question) => {
      output.asked.push(question);
      await given.onAsk?.();
      return answers.shift() ?? "";
    },
    node: process.execPath,
    script: given.script ?? join(home, "installed", "dist", "cli.mjs"),
  };
  const world: SetupWorld = {
    now: () => new Date("2026-11-21T10:30:00.000Z"),
    check: async (launch) => {
      output.checked.push(launch);
      return given.check?.(launch) ?? { ok: true, tools: ["a", "b"], tookMs: 12 };
    },
    build: given.build ?? "1.0.0+abc",
    engine: (): EmbeddedEngine => ({
      look: async () => given.engine ?? { kind: "installed" },
      card: async () => given.card,
      choose: async (backend) => void output.chosen.push(backend),
      install: async (_report, _signal, backend) => {
        output.installs += 1;
        output.installed.push(backend);
        await given.install?.();
      },
    }),
    firstModel: async (asks) => output.models.push(asks) > 0 && given.hasNoModel !== true,
    temporaryFolders: given.temporaryFolders ?? [],
  };
  const code = await setup(options, io, world);
  return { code, ...output };
}
