import { setImmediate as nextTurn } from "node:timers/promises";

/** Small enough to take about a millisecond. */
const sliceLength = 1_000;

/**
 * `JSON.stringify` of data that nobody changes meanwhile, in many turns: others have their turn between slices of lists
 * that stand directly in it. 100,000 entries in one go would hold up every call for a quarter of a second.
 */
export async function jsonInSlices(data: object): Promise<string> {
  const members: string[] = [];
  for (const [name, value] of Object.entries(data) as [string, unknown][]) {
    const text = Array.isArray(value) ? await listInSlices(value) : JSON.stringify(value);
    // Like JSON.stringify: what has no text is left out.
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
