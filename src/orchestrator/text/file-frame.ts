/** A file's text as it stands in a prompt, with a fence that nothing in it can end. */
export function frameFile({ path, text }: { readonly path: string; readonly text: string }): string {
  const longest = Math.max(0, ...Array.from(text.matchAll(/`{3,}/g), ([run]) => run.length));
  const fence = "`".repeat(Math.max(3, longest + 1));
  return `File ${nameOnOneLine(path)}:\n${fence}\n${text}${text.endsWith("\n") ? "" : "\n"}${fence}\n\n`;
}

/** A file's name may hold line breaks, and with them a frame of its own. */
function nameOnOneLine(name: string): string {
  return name.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ").trim();
}
