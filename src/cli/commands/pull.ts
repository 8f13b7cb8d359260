import type { ToolInputs } from "../../tools/index.ts";
import type { CommandIo } from "../terminal/io.ts";
import { withSession } from "../terminal/session.ts";
import { show } from "./show.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";

interface PullFlags {
  readonly engine?: string;
  readonly json?: boolean;
}

/** `ollm pull NAME`, with a progress bar, the speed and the remaining time. */
export function pullModel(name: string, options: PullFlags, io: CommandIo): Promise<number> {
  // A partial download is kept, and not listed as a model.
  const onInterrupt = `interrupted; run ollm pull ${name} again to continue`;
  return pull({ model: name, engine: options.engine }, onInterrupt, options, io);
}

/**
 * `ollm import FILE NAME`: adds a GGUF file (absolute path) to the model store, through the daemon, the only process
 * that writes to it.
 */
export function importModel(
  file: string,
  name: string,
  options: { readonly json?: boolean },
  io: CommandIo,
): Promise<number> {
  return pull({ model: name, from: file }, `the import of ${name} was cancelled`, options, io);
}

function pull(
  input: ToolInputs["pull_model"],
  onInterrupt: string,
  options: { readonly json?: boolean },
  io: CommandIo,
): Promise<number> {
  return withSession(io, { onInterrupt }, async ({ call }) => {
    const { structured, text } = await call("pull_model", input, { progress: "always" });
    show(structured, options, io, () => `${oneLine(text)}\n`);
    return 0;
  });
}
