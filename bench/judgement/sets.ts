import { readFile } from "node:fs/promises";

/** The halves of a set: `dev` was looked at and tuned on, `judge` only measures. */
export const halves = ["dev", "judge"] as const;

/** The items of one half of `sets/NAME.HALF.jsonl`; none if there is no such file. */
export async function readHalf<Item>(name: string, half: (typeof halves)[number]): Promise<readonly Item[]> {
  const text = await readFile(new URL(`sets/${name}.${half}.jsonl`, import.meta.url), "utf8").catch(() => "");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line): Item => JSON.parse(line));
}
