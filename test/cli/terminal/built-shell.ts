import { spawn } from "node:child_process";
import { once } from "node:events";
import { makeDaemonHome, type DaemonHome } from "../../support/daemon-home.ts";
import { builtCommand } from "../../support/stdio-client.ts";

interface Ran {
  readonly code: unknown;
  readonly stdout: string;
  readonly stderr: string;
}

/** The built command in the environment of `home`, with `input` piped in. */
export async function runBuilt(
  home: DaemonHome,
  words: readonly string[],
  input = "",
  environment: Record<string, string> = {},
  folder = home.folder,
): Promise<Ran> {
  const command = spawn(process.execPath, [builtCommand, ...words], {
    env: { ...home.environment, ...environment },
    cwd: folder,
    stdio: ["pipe", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  command.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  command.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  command.stdin.on("error", () => undefined);
  command.stdin.end(input);
  const [code] = await once(command, "close");
  return { code, stdout, stderr };
}

/** A home with two models that know one sentence, and one that can be pulled. */
export function makeShellHome(): Promise<DaemonHome> {
  const reply = "The sky is blue.";
  return makeDaemonHome(
    {},
    {
      models: [
        { name: "smollm2:135m", reply },
        { name: "big:7b", reply },
      ],
      registry: [{ name: "qwen2.5:0.5b" }],
    },
  );
}

/** What the last chat request ended with. */
export function lastPromptAt(home: DaemonHome): string {
  const chats = home.ollama.requests.filter((request) => request.path === "/api/chat");
  const messages = chats.at(-1)?.body["messages"] as readonly { readonly content: string }[] | undefined;
  return messages?.at(-1)?.content ?? "";
}
