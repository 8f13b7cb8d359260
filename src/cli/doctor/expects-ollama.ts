import type { LoadedSettings } from "../../orchestrator/config/load.ts";
import { isOllamaOptional } from "../../orchestrator/config/ollama-servers.ts";
import { createDocumentFiles, readOnlyFiles } from "../../orchestrator/documents/files.ts";
import { isOllamaInstalled } from "../../orchestrator/engines/ollama/installed.ts";
import { createKeptLearning } from "../../orchestrator/estimates/kept-learning.ts";
import { engineKey } from "../../orchestrator/inventory/engine-key.ts";
import { createLog } from "../../orchestrator/log.ts";
import { parseOllamaHost } from "../../orchestrator/text/ollama-host.ts";
import type { CommandIo } from "../commands/io.ts";

/** Whether an Ollama server that does not respond is worth a word, as the daemon decides it; writes nothing. */
export async function expectsOllama(
  home: string,
  { settings: { providers }, sources }: Pick<LoadedSettings, "settings" | "sources">,
  io: CommandIo,
): Promise<boolean> {
  if (!isOllamaOptional(providers, sources) || (await isOllamaInstalled(io))) return true;
  const files = readOnlyFiles(createDocumentFiles(home), "the doctor changes nothing");
  const kept = createKeptLearning({ files, log: createLog("silent", () => undefined) });
  const host = engineKey({ kind: "ollama", address: parseOllamaHost(providers.ollama.host).baseUrl });
  return (await kept.hosts()).some((known) => known === host);
}
