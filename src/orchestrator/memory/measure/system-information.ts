/**
 * The part of the package `systeminformation` that is used. Sizes of `mem` are in bytes, those of `graphics` in MiB.
 */
export interface SystemInformation {
  mem(): Promise<{
    readonly total: number;
    readonly available: number;
    readonly swaptotal: number;
    readonly swapused: number;
  }>;
  graphics(): Promise<{
    readonly controllers: readonly {
      readonly model: string;
      readonly name?: string;
      readonly vram: number | null;
      /** Whether the memory is shared with main memory. */
      readonly vramDynamic: boolean;
      readonly memoryTotal?: number;
      readonly memoryFree?: number;
    }[];
  }>;
}

/** Imported on first use: the import takes 15 ms, and the package starts programs. */
export async function importSystemInformation(): Promise<SystemInformation> {
  const { default: systemInformation } = await import("systeminformation");
  return systemInformation;
}
