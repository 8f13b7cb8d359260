/** `2026-11-22 17:20` in the local time zone, for people; a text that is no time is returned unchanged. */
export function localTime(iso: string): string {
  const at = new Date(iso);
  // The Swedish form of a date is that of ISO 8601.
  return Number.isNaN(at.getTime()) ? iso : at.toLocaleString("sv", { dateStyle: "short", timeStyle: "short" });
}
