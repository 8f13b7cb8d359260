import { setImmediate as nextTurn } from "node:timers/promises";

/** Takes about a millisecond. */
const sliceLength = 1_000;

/**
 * `JSON.stringify` that yields between slices of the lists directly in `data`, which must not change meanwhile.
 * Serializing 100,000 entries at once would block all calls for a quarter of a second.
 */
export async function jsonInSlices(data: object): Promise<string> {
  const members: string[] = [];
  for (const [name, value] of Object.entries(data) as [string, unknown][]) {
    const text = Array.isArray(value) ? await listInSlices(value) : JSON.stringify(value);
    // Omits undefined values, like JSON.stringify.
    if (text !== undefined) members.push(`${JSON.stringify(name)}:${text}`);
  }
  return `{${members.join(",")}}`;
}

async function listInSlices(list: readonly unknown[]): Promise<string> {
  const slices: string[] = [];
  for (let start = 0; start < list.length; start += sliceLength) {
    if (start > 0) await nextTurn();
    slices.push(JSON.stringify(list.slice(start, start + sliceLength)).slice(1, -1));
  }
  return `[${slices.join(",")}]`;
}
