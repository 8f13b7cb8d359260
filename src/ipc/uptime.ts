/** Milliseconds of this process's life: bounds are counted in them, because the clock on the wall may be set. */
export function uptimeMs(): number {
  return process.uptime() * 1_000;
}
