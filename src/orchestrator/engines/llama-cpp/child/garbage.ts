/** Runs the garbage collector, so that garbage (a header's 50,000 words, a generation's objects) isn't measured as memory of the model. */
export function collectGarbage(): void {
  // Exposed by the flag `--expose-gc`.
  (globalThis as { gc?: () => void }).gc?.();
}
