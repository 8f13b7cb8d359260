import type { CommandIo } from "../commands/io.ts";
import { jsonText } from "../../orchestrator/text/control-characters.ts";

/** Of `--json`: the one value on stdout. Without it `text` of the value, which ends its own lines. */
export function show<Value>(
  value: Value,
  options: { readonly json?: boolean | undefined },
  io: Pick<CommandIo, "stdout">,
  text: (value: Value) => string,
): void {
  io.stdout(options.json === true ? `${jsonText(value, 2)}\n` : text(value));
}
