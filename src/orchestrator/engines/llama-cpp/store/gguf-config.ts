import { weightCount } from "../../gguf/facts.ts";
import type { GgufHeader } from "../../gguf/inspect.ts";

/** llama.cpp's `llama_ftype`: the values of `general.file_type`. */
const FILE_TYPES: Readonly<Record<number, string>> = {
  0: "F32",
  1: "F16",
  2: "Q4_0",
  3: "Q4_1",
  7: "Q8_0",
  8: "Q5_0",
  9: "Q5_1",
  10: "Q2_K",
  11: "Q3_K_S",
  12: "Q3_K_M",
  13: "Q3_K_L",
  14: "Q4_K_S",
  15: "Q4_K_M",
  16: "Q5_K_S",
  17: "Q5_K_M",
  18: "Q6_K",
  19: "IQ2_XXS",
  20: "IQ2_XS",
  21: "Q2_K_S",
  22: "IQ3_XS",
  23: "IQ3_XXS",
  24: "IQ1_S",
  25: "IQ4_NL",
  26: "IQ3_S",
  27: "IQ3_M",
  28: "IQ2_S",
  29: "IQ2_M",
  30: "IQ4_XS",
  31: "IQ1_M",
  32: "BF16",
  36: "TQ1_0",
  37: "TQ2_0",
  38: "MXFP4_MOE",
};

/** The config blob that Ollama writes for an imported GGUF (`types/model/config.go`), as far as known from the header. */
export function configOfGguf(header: GgufHeader | undefined, weightsHex: string): Readonly<Record<string, unknown>> {
  const fileType = Number(header?.metadata["general.file_type"] ?? Number.NaN);
  const parameters = header === undefined ? undefined : weightCount(header);
  return {
    model_format: "gguf",
    model_family: header?.architecture ?? "",
    model_families: header === undefined ? [] : [header.architecture],
    model_type: parameters === undefined ? "" : humanNumber(parameters),
    file_type: FILE_TYPES[fileType] ?? "unknown",
    architecture: "amd64",
    os: "linux",
    rootfs: { type: "layers", diff_ids: [`sha256:${weightsHex}`] },
  };
}

/** `134.52M`, `7.6B`, `8B`: Ollama's `format.HumanNumber`. */
function humanNumber(value: number): string {
  const scaled = (unit: number, decimals: number) => (value / unit).toFixed(value % unit === 0 ? 0 : decimals);
  if (value >= 1e9) return `${scaled(1e9, 1)}B`;
  if (value >= 1e6) return `${scaled(1e6, 2)}M`;
  return value >= 1e3 ? `${scaled(1e3, 0)}K` : `${value}`;
}
