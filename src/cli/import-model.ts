import { startStandalone } from "../server/client.ts";
import { version } from "../version.ts";
import { createProgressLine } from "./progress-line.ts";

/** `ollm import FILE NAME`: answers the exit code (0 done, 1 refused or failed, 130 interrupted). */
export async function importModel(file: string, model: string, script: string): Promise<number> {
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort());
  process.once("SIGTERM", () => interrupt.abort());
  const line = createProgressLine(process.stderr);
  const server = await startStandalone({ node: process.execPath, script, environment: process.env, version });
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
      console.error(`ollm: ${text}`);
      return 1;
    }
    console.log(text);
    return 0;
  } catch (error) {
    line.end();
    if (interrupt.signal.aborted) {
      console.error(`ollm: the import of ${model} was cancelled`);
      return 130;
    }
    throw error;
  } finally {
    await server.close();
  }
}
