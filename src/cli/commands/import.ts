import { startServer } from "../../server/client.ts";
import { version } from "../../version.ts";
import { createProgressLine } from "../progress-line.ts";
import type { CommandIo } from "./io.ts";

/**
 * `ollm import FILE NAME`: takes a GGUF (absolute path) into the model store, through the owner, which alone writes to it.
 * Answers the exit code: 0 done, 1 refused or failed, 130 interrupted.
 */
export async function importModel(file: string, model: string, io: CommandIo): Promise<number> {
  const interrupt = new AbortController();
  const onSignal = (): void => interrupt.abort();
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  const line = createProgressLine(process.stderr);
  const server = await startServer({ node: io.node, script: io.script, environment: io.environment, version });
  try {
    const result = await server.callTool(
      "pull_model",
      { model, from: file },
      {
        signal: interrupt.signal,
        onProgress: ({ message, progress, total }) =>
          line.show(message ?? "importing", total === undefined ? undefined : progress / total),
      },
    );
    line.end();
    const text = result.content.map((block) => (block.type === "text" ? block.text : "")).join("\n");
    if (result.isError === true) {
      io.stderr(`ollm: ${text}\n`);
      return 1;
    }
    io.stdout(`${text}\n`);
    return 0;
  } catch (error) {
    line.end();
    if (interrupt.signal.aborted) {
      io.stderr(`ollm: the import of ${model} was cancelled\n`);
      return 130;
    }
    throw error;
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
    await server.close();
  }
}
