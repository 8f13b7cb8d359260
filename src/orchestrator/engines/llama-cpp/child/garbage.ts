/** JavaScript's garbage (a header's 50,000 words, a generation's objects) must not count as the model's memory. */
export function collectGarbage(): void {
  // Exposed by a flag of the process that starts this one.
  (globalThis as { gc?: () => void }).gc?.();
}
