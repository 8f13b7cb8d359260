/** A file's text as it appears in a prompt, in a fence that is longer than any in the text. */
export function frameFile({ path, text }: { readonly path: string; readonly text: string }): string {
  const longest = Math.max(0, ...Array.from(text.matchAll(/`{3,}/g), ([run]) => run.length));
  const fence = "`".repeat(Math.max(3, longest + 1));
  return `File ${nameOnOneLine(path)}:\n${fence}\n${text}${text.endsWith("\n") ? "" : "\n"}${fence}\n\n`;
}

/** The name without line breaks, which could forge a frame. */
function nameOnOneLine(name: string): string {
  return name.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ").trim();
}
