/** Writes a practice model: `tsx scripts/tiny-gguf.ts OUT.gguf [--says TEXT] [--quantization F32|Q8_0|Q4_0] [--endless] [--babbling]`. */
import { stat } from "node:fs/promises";
import { parseArgs } from "node:util";
import { tinySentence, writeTinyGguf } from "../test/support/tiny-gguf.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    says: { type: "string", default: tinySentence },
    quantization: { type: "string", default: "Q4_0" },
    endless: { type: "boolean", default: false },
    babbling: { type: "boolean", default: false },
  },
});
const [path] = positionals;
const { quantization } = values;
if (path === undefined || (quantization !== "F32" && quantization !== "Q8_0" && quantization !== "Q4_0")) {
  process.stderr.write(
    "usage: tsx scripts/tiny-gguf.ts OUT.gguf [--says TEXT] [--quantization F32|Q8_0|Q4_0] [--endless] [--babbling]\n",
  );
  process.exitCode = 2;
} else {
  await writeTinyGguf(path, {
    says: values.says,
    quantization,
    isEndless: values.endless,
    isBabbling: values.babbling,
    contextLength: 8_192,
  });
  process.stdout.write(
    `${path}: ${(await stat(path)).size} bytes; it ${values.babbling ? "babbles" : `says "${values.says}"`}\n`,
  );
}
