import { access } from "node:fs/promises";
import path from "node:path";
import { parseOllamaHost } from "../../util/ollama-host.ts";
import { engineKey } from "../engine.ts";
import { ollamaStoreCandidates } from "../llama-cpp/store/layout.ts";

/** The `engineKey` of the server at that address. Throws `InvalidConfig` for an invalid one. */
export const ollamaKey = (host: string): string | undefined =>
  engineKey({ kind: "ollama", address: parseOllamaHost(host).baseUrl });

/**
 * Whether Ollama was installed or used on this machine: there is a folder `.ollama` in the user's home, a folder in which
 * it stores models, or the program on the PATH. Never rejects.
 */
export async function isOllamaInstalled(machine: {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly platform: NodeJS.Platform;
  readonly userHome: string;
}): Promise<boolean> {
  const { environment, platform, userHome } = machine;
  const program = platform === "win32" ? "ollama.exe" : "ollama";
  const folders = (environment["PATH"] ?? environment["Path"] ?? "").split(platform === "win32" ? ";" : ":");
  const found = await Promise.all(
    [
      path.join(userHome, ".ollama"),
      ...ollamaStoreCandidates(environment, platform, userHome),
      ...folders.filter((folder) => path.isAbsolute(folder)).map((folder) => path.join(folder, program)),
    ].map((file) =>
      access(file).then(
        () => true,
        // A folder of another user exists, too.
        (error: NodeJS.ErrnoException) => error.code === "EACCES",
      ),
    ),
  );
  return found.includes(true);
}
