import { InvalidRequest } from "../api/errors.ts";

/**
 * What a batch waits for; undefined: it may go on. `when` is `now`, `idle` (no other
 * request runs, and no battery is used) or hours of this machine's day, `22:00-06:00`. Throws `InvalidRequest` for anything else.
 */
export async function waitsFor(
  when: string | undefined,
  now: Date,
  machine: { isBusy(): boolean; onBattery(): Promise<boolean> },
): Promise<string | undefined> {
  if (when === undefined || when === "now") return undefined;
  if (when === "idle") {
    if (machine.isBusy()) return "waits for other requests";
    return (await machine.onBattery()) ? "waits for power" : undefined;
  }
  const [, from, to] = /^(\d\d?:\d\d)\s*[-–]\s*(\d\d?:\d\d)$/.exec(when) ?? [];
  const [start, end] = [minutesOf(from), minutesOf(to)];
  if (start === undefined || end === undefined || start === end)
    throw new InvalidRequest(`when is ${JSON.stringify(when)}; allowed: now, idle, hours such as 22:00-06:00`);
  const minute = now.getHours() * 60 + now.getMinutes();
  const isInside = start < end ? minute >= start && minute < end : minute >= start || minute < end;
  return isInside ? undefined : `waits until ${from}`;
}

function minutesOf(time: string | undefined): number | undefined {
  const [hours = Number.NaN, minutes = Number.NaN] = time?.split(":").map(Number) ?? [];
  return hours < 24 && minutes < 60 ? hours * 60 + minutes : undefined;
}
