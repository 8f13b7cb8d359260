/** Bytes per second over the last few seconds; `undefined` until it can be measured. */
export type SpeedMeter = (completedBytes: number) => number | undefined;

const SMOOTHING_MS = 3000;
/** Shorter intervals measure buffers rather than the network. */
const SAMPLE_MS = 200;

/** Smooths exponentially with a time constant of 3 s. `startBytes` were present before the transfer. */
export function createSpeedMeter(now: () => number, startBytes: number): SpeedMeter {
  let sampledAtMs = now();
  let sampledBytes = startBytes;
  let bytesPerSecond: number | undefined;
  return (completedBytes) => {
    const elapsedMs = now() - sampledAtMs;
    if (elapsedMs < SAMPLE_MS) return bytesPerSecond;
    const current = (Math.max(0, completedBytes - sampledBytes) / elapsedMs) * 1000;
    const weight = 1 - Math.exp(-elapsedMs / SMOOTHING_MS);
    bytesPerSecond = Math.round(
      bytesPerSecond === undefined ? current : bytesPerSecond + weight * (current - bytesPerSecond),
    );
    sampledAtMs = now();
    sampledBytes = completedBytes;
    return bytesPerSecond;
  };
}
