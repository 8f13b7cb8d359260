/**
 * What declaration files of dependencies name and `@types/node` 20 lacks. Types only: of the libraries' own checks
 * nothing is skipped.
 */
import type { TextDecoder as NodeTextDecoder } from "node:util";
import type { BrotliCompress, BrotliDecompress } from "node:zlib";

declare module "zlib" {
  // minizlib (tar) can use Zstandard where Node has it; we don't ask it to.
  type ZstdCompress = BrotliCompress;
  type ZstdDecompress = BrotliDecompress;
}

declare global {
  // gpt-tokenizer takes it for granted as browsers have it.
  interface TextDecoder extends NodeTextDecoder {}
}
