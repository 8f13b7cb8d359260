/** The part of the package `systeminformation` that we use, as it answers: sizes of `mem` in bytes, of `graphics` in MiB. */
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
      /** Borrowed from the main memory: no capacity of its own. */
      readonly vramDynamic: boolean;
      readonly memoryTotal?: number;
      readonly memoryFree?: number;
    }[];
  }>;
}

/** 15 ms to import and it starts programs: only when first needed. */
export async function importSystemInformation(): Promise<SystemInformation> {
  const { default: systemInformation } = await import("systeminformation");
  return systemInformation;
}
