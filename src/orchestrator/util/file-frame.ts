/** A file's text as it appears in a prompt, in a fence that is longer than any in the text. */
export function frameFile({ path, text }: { readonly path: string; readonly text: string }): string {
  const longest = Math.max(0, ...Array.from(text.matchAll(/`{3,}/g), ([run]) => run.length));
  const fence = "`".repeat(Math.max(3, longest + 1));
  return `File ${nameOnOneLine(path)}:\n${fence}\n${text}${text.endsWith("\n") ? "" : "\n"}${fence}\n\n`;
}

/** Files and prompt as one text. */
export function questionOf({
  files,
  prompt,
}: {
  readonly files?: readonly { readonly path: string; readonly text: string }[] | undefined;
  readonly prompt: string;
}): string {
  return files === undefined ? prompt : files.map(frameFile).join("") + prompt;
}

/** The name without line breaks, which could forge a frame. */
function nameOnOneLine(name: string): string {
  return name.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ").trim();
}
