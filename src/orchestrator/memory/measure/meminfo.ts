/** The machine's memory as reported by Linux, in bytes. */
export interface MemInfo {
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly swapTotalBytes: number;
  readonly swapFreeBytes: number;
}

/** Parses `/proc/meminfo`; undefined if it has no total. */
export function parseMemInfo(text: string): MemInfo | undefined {
  const kib = new Map<string, number>();
  for (const match of text.matchAll(/^(\w+):\s+(\d+) kB$/gm)) kib.set(match[1] ?? "", Number(match[2]));
  const bytes = (name: string) => (kib.get(name) ?? 0) * 1024;
  if (bytes("MemTotal") === 0) return undefined;
  return {
    totalBytes: bytes("MemTotal"),
    // Kernels before 3.14 have no MemAvailable.
    availableBytes: kib.has("MemAvailable") ? bytes("MemAvailable") : bytes("MemFree") + bytes("Cached"),
    swapTotalBytes: bytes("SwapTotal"),
    swapFreeBytes: bytes("SwapFree"),
  };
}
