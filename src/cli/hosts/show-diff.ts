import { createTwoFilesPatch } from "diff";

/** Some hosts keep megabytes of state in one line. */
const maxLineLength = 200;

/** Values beside our entry that nobody wants on a screen: other servers' keys. */
const secret = /((?:key|token|secret|password|credential|authorization)[\w-]*["']?\s*[:=]\s*)(["']).*?\2/gi;

/** The change as a unified diff with three lines around it, for a terminal. */
export function showDiff(file: string, before: string, after: string): string {
  const patch = createTwoFilesPatch(file, file, before, after, undefined, undefined, { context: 3 });
  const lines = patch
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("===") && !line.startsWith("Index: "))
    .map((line) => line.replace(/\r$/, ""))
    .map((line) => (line.startsWith(" ") ? line.replaceAll(secret, "$1$2…$2") : line))
    .map((line) => (line.length > maxLineLength ? `${line.slice(0, maxLineLength)}…` : line));
  return `${lines.join("\n")}\n`;
}
