import type { CommandIo } from "../terminal/io.ts";
import { jsonText } from "../../orchestrator/util/control-characters.ts";

/** Prints a value: with `--json` as one JSON value, else as `text` renders it, with its line ends. */
export function show<Value>(
  value: Value,
  options: { readonly json?: boolean | undefined },
  io: Pick<CommandIo, "stdout">,
  text: (value: Value) => string,
): void {
  io.stdout(options.json === true ? `${jsonText(value, 2)}\n` : text(value));
}
