/** Age of this process in milliseconds. Timeouts use it, because the wall clock can be set. */
export function uptimeMs(): number {
  return process.uptime() * 1_000;
}
