import type { ProjectFile } from "../facade-projects.ts";
import type { OllmFolder } from "./ollm-folder.ts";

const maxPromptCharacters = 1_200;
const maxListed = 12;

/** What approving a project would put in force, for the user who decides; the file's own texts are quoted. */
export function questionFor(folder: string, settings: ProjectFile, { templates }: OllmFolder): string {
  const { model, systemPrompt } = settings;
  const names = templates.slice(0, maxListed).map(({ name }) => oneLine(name));
  const more = templates.length - names.length;
  return [
    `The project ${oneLine(folder)} brings settings along. Approve them only if you know where they come from.`,
    ...(model === undefined ? [] : [`Model: ${oneLine(model)}`]),
    ...(systemPrompt === undefined ? [] : ["System prompt of every request:", quoted(systemPrompt)]),
    ...(names.length === 0 ? [] : [`Templates: ${names.join(", ")}${more > 0 ? ` and ${more} more` : ""}`]),
    "Use them?",
  ].join("\n");
}

/** What of it waits for an approval, in a few words; undefined when nothing does. */
export function waitingParts(settings: ProjectFile, { templates }: OllmFolder): string | undefined {
  const parts = [
    ...(settings.systemPrompt === undefined ? [] : ["its system prompt"]),
    ...(settings.model === undefined ? [] : [`its model (${oneLine(settings.model)})`]),
    ...(templates.length === 0 ? [] : [`its ${templates.length === 1 ? "template" : "templates"}`]),
  ];
  return parts.length === 0 ? undefined : parts.join(", ");
}

function quoted(text: string): string {
  const cut = text.slice(0, maxPromptCharacters);
  const rest = text.length - cut.length;
  const lines = cut.split(/\r\n|[\n\r\u2028\u2029]/).map((line) => `> ${oneLine(line)}`);
  return [...lines, ...(rest > 0 ? [`> ... ${rest} more characters; read the file before you approve it`] : [])].join(
    "\n",
  );
}

/** Without what moves a cursor, turns the direction of writing or can't be seen: it must look like what it is. */
function oneLine(text: string): string {
  return text.replaceAll("\t", "    ").replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "\u{FFFD}");
}
