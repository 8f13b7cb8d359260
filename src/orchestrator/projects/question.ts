import { type ProjectFile, neededTools } from "../api/facade-projects.ts";
import { type OllmFolder, oneLine, quotedName } from "./ollm-folder.ts";

const maxPromptCharacters = 1_200;
/** The question after the prompt must stay visible. */
const maxPromptLines = 30;
const maxListed = 12;

/** The question for the user: what an approval of the project would put in force, with the file's texts quoted. */
export function questionFor(folder: string, settings: ProjectFile, { templates }: OllmFolder): string {
  const { model, systemPrompt } = settings;
  const tools = hiddenTools(settings);
  const names = templates.slice(0, maxListed).map(({ name }) => oneLine(name));
  const more = templates.length - names.length;
  return [
    `The project ${oneLine(folder)} has settings that need your approval. Approve them only if you trust their source.`,
    ...(model === undefined ? [] : [`Model: ${oneLine(model)}`]),
    ...(systemPrompt === undefined ? [] : ["System prompt of all requests:", quoted(systemPrompt)]),
    ...(tools.length === 0 ? [] : [`Tools hidden from assistants: ${tools.join(", ")}`]),
    ...(names.length === 0
      ? []
      : [`Templates (prompts, in .ollm/templates): ${names.join(", ")}${more > 0 ? ` and ${more} more` : ""}`]),
    "Use them?",
  ].join("\n");
}

/** What is waiting for approval, in a few words; undefined when nothing is. */
export function waitingParts(settings: ProjectFile, { templates }: OllmFolder): string | undefined {
  const parts = [
    ...(settings.systemPrompt === undefined ? [] : ["a system prompt"]),
    ...(settings.model === undefined ? [] : [`a model (${quotedName(settings.model)})`]),
    ...(templates.length === 0 ? [] : [templates.length === 1 ? "a template" : "templates"]),
  ];
  const tools = hiddenTools(settings);
  if (tools.length > 0) parts.push(`hidden tools (${tools.join(", ")})`);
  return parts.length === 0 ? undefined : parts.join(", ");
}

/** The tools that the project hides and that need an approval to be hidden. */
function hiddenTools({ tools }: ProjectFile): readonly string[] {
  const { enabled, disabled = [] } = tools ?? {};
  return neededTools.filter((name) => disabled.includes(name) || enabled?.includes(name) === false);
}

function quoted(text: string): string {
  const lines = text.slice(0, maxPromptCharacters).split(/\r\n|[\n\r\u2028\u2029]/);
  const shown = lines.slice(0, maxPromptLines);
  const hidden = lines.slice(maxPromptLines).map((line) => line.length + 1);
  const rest = hidden.reduce((sum, length) => sum + length, Math.max(0, text.length - maxPromptCharacters));
  return [
    ...shown.map((line) => `> ${oneLine(line)}`),
    ...(rest > 0 ? [`> ... ${rest} more characters; read the file before you approve it`] : []),
  ].join("\n");
}
