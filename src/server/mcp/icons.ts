import type { Icon } from "@modelcontextprotocol/server";
import type { ToolEffect } from "../../tools/definition.ts";

/** The server's icon: a chip. Icons are single paths, short because some clients pass them to their model. */
export const serverIcon = icon("M7 7h10v10H7zM9 3v4M15 3v4M9 17v4M15 17v4M3 9h4M3 15h4M17 9h4M17 15h4");

/** The icon of resources: a document. */
export const resourceIcon = icon("M5 6h14M5 12h14M5 18h14");

/** The icon of prompts: a speech bubble. */
export const promptIcon = icon("M4 5h16v11H11l-5 4v-4H4z");

const toolIcons: Readonly<Record<ToolEffect, Icon>> = {
  read: icon("M4 12a8 8 0 1016 0 8 8 0 10-16 0M12 11v6M12 7v1"),
  write: icon("M6 4l14 8-14 8z"),
  destroy: icon("M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13"),
};

/** The icon of a tool, by its effect. */
export function toolIcon(effect: ToolEffect): Icon {
  return toolIcons[effect];
}

function icon(path: string): Icon {
  const svg = `<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='gray' stroke-width='2'><path d='${path}'/></svg>`;
  // Only characters that a URI can't contain are escaped, to keep it short.
  const src = `data:image/svg+xml,${svg.replaceAll(/[<> #%"]/g, encodeURIComponent)}`;
  return { src, mimeType: "image/svg+xml" };
}
