import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { crashReasonIn } from "../../../src/orchestrator/engines/failures.ts";

/** The stderr of Node for a program. */
function complaintOf(program: string): readonly string[] {
  return spawnSync(process.execPath, ["-e", program], { encoding: "utf8" }).stderr.split("\n");
}

describe("the reason of a crash", () => {
  it.each([
    ["throw new TypeError('no such layer')", "TypeError: no such layer"],
    ["Promise.reject(new Error('too late'))", "Error: too late"],
    ["require('node:fs').readFileSync('/nowhere')", "Error: ENOENT: no such file or directory, open '/nowhere'"],
    ["console.error('tidied up'); process.exit(3)", "tidied up"],
  ])("of a Node process that ran %j is not the version of Node", (program, expected) => {
    expect(crashReasonIn(complaintOf(program))).toBe(expected);
  });

  it.each([
    [
      [
        "/llama/ggml/src/ggml.c:1648: GGML_ASSERT(ctx->mem_buffer != NULL) failed",
        "[New LWP 12]",
        "#0  0x00007f in wait4 ()",
      ],
      "/llama/ggml/src/ggml.c:1648: GGML_ASSERT(ctx->mem_buffer != NULL) failed",
    ],
    [
      ["terminate called after throwing an instance of 'std::bad_alloc'", "  what():  std::bad_alloc"],
      "what():  std::bad_alloc",
    ],
    [
      ["FATAL ERROR: Reached heap limit Allocation failed", "----- Native stack trace -----", " 1: 0xb8"],
      "FATAL ERROR: Reached heap limit Allocation failed",
    ],
    [
      [
        "[error] CUDA error: the provided PTX was compiled with an unsupported toolchain.",
        "[error]   current device: 0, in function ggml_cuda_kernel_can_use_pdl at /ggml-cuda/common.cuh:1640",
        "/bins/libggml-base.so(ggml_abort+0x152)[0x7fe2]",
      ],
      "[error] CUDA error: the provided PTX was compiled with an unsupported toolchain.",
    ],
    [["loading", "", "something went wrong", ""], "something went wrong"],
    [[" ", ""], undefined],
  ])("is found in %j", (lines, expected) => {
    expect(crashReasonIn(lines)).toBe(expected);
  });
});
