import type { GenerateRequest } from "../api/facade.ts";
import type { Task } from "../api/types.ts";
import { fold } from "../recall/text-index.ts";
import { defined } from "../util/defined.ts";
import { asksOnePlace } from "./one-place.ts";

/** Longer requests have conditions that no query holds. */
const maxCharacters = 600;

/** Tasks that are no questions about rows; guesses of the others are wrong for many. */
const otherTasks: ReadonlySet<Task> = new Set([
  "summarization",
  "translation",
  "creative",
  "transcription",
  "code_review",
]);
const otherGuesses: ReadonlySet<Task> = new Set(["summarization", "translation", "transcription"]);

const words = (...alternatives: readonly string[]): RegExp =>
  new RegExp(`(?<![\\p{L}\\p{N}])(?:${alternatives.join("|")})(?![\\p{L}\\p{N}])`, "u");

/** What is computed from rows, in English, German, French, Spanish and Italian; folded. Other questions need not be recognized. */
const computed = words(
  "how (?:many|often)|number of|count|sum|total|average|mean|median|percent\\p{L}*|share|most|least|fewest|(?:high|low|larg|small|bigg|long|short|earli|lat|old|new|cheap)est|list|sort|rank|group",
  "wie ?viele?|wie oft|anzahl|zahle|summe|summiere|insgesamt|durchschnitt\\p{L}*|median|prozent\\p{L}*|anteil|(?:meist|wenigst|hochst|niedrigst|tiefst|großt|kleinst|langst|kurzest|teuerst|billigst|haufigst)\\p{L}*|liste|sortier\\p{L}*|gruppier\\p{L}*",
  "combien|nombre d\\p{L}*|somme|total\\p{L}*|moyenn?e?s?|mediane|pourcentage|(?:le|la|les) (?:plus|moins)|trie[rz]?|liste\\p{L}*|compte[rz]?",
  "cuant[oa]s?|numero de|suma\\p{L}*|total\\p{L}*|promedio|medi[oa]s?|mediana|porcentaje|mas|menos|ordena\\p{L}*|lista\\p{L}*|cuenta",
  "quant[oaie]|numero di|somma\\p{L}*|total\\p{L}*|medi[oa]|mediana|percentuale|piu|meno|ordina\\p{L}*|elenc\\p{L}*|conta",
);

/** What no query answers: reasons, summaries, meanings, texts and programs to write. */
const worded = words(
  "why|summar\\p{L}*|sum up|explain|describe|mean|means|meaning|translate|rewrite|review|themes?|topics?|write|draft|generate|create|convert|transform|parse|script|program|function|code|regex|plot|chart|contradict\\p{L}*|inconsisten\\p{L}*|typos?|overview|insights?|analy[sz]e",
  "warum|weshalb|wieso|zusammenfass\\p{L}*|fass\\p{L}* .{0,60}zusammen|erklar\\p{L}*|beschreib\\p{L}*|bedeutet|ubersetz\\p{L}*|schreib\\p{L}*|erstell\\p{L}*|skript|programm|funktion|diagramm|widerspr\\p{L}*|analysier\\p{L}*",
  "pourquoi|resum\\p{L}*|expliqu\\p{L}*|decri\\p{L}*|signifie|tradui\\p{L}*|ecri[st]|redige\\p{L}*|script|programme|graphique|contredi\\p{L}*|themes?|analys\\p{L}*",
  "por que|resum\\p{L}*|explica\\p{L}*|describ\\p{L}*|significa|traduc\\p{L}*|escrib\\p{L}*|script|programa|grafico|contradi\\p{L}*|temas?|analiza\\p{L}*",
  "perche|riassum\\p{L}*|riassunto|spieg\\p{L}*|descriv\\p{L}*|significa|traduc\\p{L}*|scriv\\p{L}*|script|programma|grafico|contraddi\\p{L}*|temi|analizz\\p{L}*",
);
/** `mean` is a meaning in a question that asks what something means. */
const meanValue =
  /(?<!\p{L})(?:the|a|arithmetic|geometric) mean(?!\p{L})|(?<!\p{L})mean (?:of|value|price|time|number)/u;

/**
 * Whether a request about a table asks for something that is computed from its rows, or found by their values: no look-up
 * of one place, no text to write. `guess` is the task that it seems to be.
 */
export function asksOfRows({ prompt, task }: Pick<GenerateRequest, "prompt" | "task">, guess: Task): boolean {
  if (prompt.length > maxCharacters || (task === undefined ? otherGuesses.has(guess) : otherTasks.has(task)))
    return false;
  const question = fold(prompt.trim());
  if (worded.test(question.replace(meanValue, "average"))) return false;
  return computed.test(question) || (/[?？]\P{L}*$/u.test(question) && !asksOnePlace({ prompt, ...defined({ task }) }));
}
