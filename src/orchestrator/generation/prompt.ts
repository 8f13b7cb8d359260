import type { ChatMessage } from "../engines/generation.ts";
import type { GenerateRequest } from "../facade.ts";

/**
 * The chat a request becomes. Files stand before the question, so that a second question about the same files shares
 * its beginning with the first and the engine's prefix cache skips them.
 */
export function buildMessages(request: GenerateRequest, defaultSystem?: string): readonly ChatMessage[] {
  const files = (request.files ?? []).map(quoteFile).join("");
  const system = request.system ?? defaultSystem;
  const user: ChatMessage = {
    role: "user",
    content: files + request.prompt,
    ...(request.images === undefined || request.images.length === 0 ? {} : { images: request.images }),
  };
  return system === undefined ? [user] : [{ role: "system", content: system }, user];
}

function quoteFile(file: { readonly path: string; readonly text: string }): string {
  return `File ${file.path}:\n\`\`\`\n${file.text}${file.text.endsWith("\n") ? "" : "\n"}\`\`\`\n\n`;
}
