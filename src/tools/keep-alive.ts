import * as z from "zod";

const unitSeconds: Readonly<Record<string, number>> = { ns: 1e-9, us: 1e-6, µs: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 };

/**
 * Seconds of a keep-alive as Ollama takes it: a number of seconds, or a Go duration (`10m`, `1h30m`, `-1`).
 * Fractions round up, so that `500ms` is not "unload at once"; anything negative is -1 (never unload).
 * Undefined if the text is not a duration.
 */
export function parseKeepAlive(value: number | string): number | undefined {
  const seconds = typeof value === "number" ? value : durationSeconds(value.trim());
  if (seconds === undefined || !Number.isFinite(seconds)) return undefined;
  return seconds < 0 ? -1 : Math.ceil(seconds);
}

function durationSeconds(text: string): number | undefined {
  if (/^[+-]?\d+(\.\d+)?$/.test(text)) return Number(text);
  const match = /^([+-]?)((?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+)$/.exec(text);
  if (match === null) return undefined;
  let seconds = 0;
  for (const [, amount, unit] of (match[2] ?? "").matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)) {
    seconds += Number(amount) * (unitSeconds[unit ?? ""] ?? Number.NaN);
  }
  return match[1] === "-" ? -seconds : seconds;
}

/** The input `keep_alive`, parsed to seconds. */
export const keepAliveInput = z
  .union([z.number(), z.string()])
  .transform((value, context) => {
    const seconds = parseKeepAlive(value);
    if (seconds !== undefined) return seconds;
    context.issues.push({ code: "custom", message: 'must be seconds or a duration such as "10m"', input: value });
    return z.NEVER;
  })
  .describe('Seconds or "10m" to stay loaded; 0 unloads at once, -1 never.');
