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
/** Texts of people, and how they may be: a model that reads judges that, no query. */
const texts = words(
  "comments?|reviews?|feedback|remarks?|messages?|responses?|opinions?|tickets?",
  "kommentar\\p{L}*|bewertung\\p{L}*|ruckmeldung\\p{L}*|anmerkung\\p{L}*|bemerkung\\p{L}*|nachricht\\p{L}*|meinung\\p{L}*",
  "commentaires?|avis|remarques?|messages?|comentarios?|opinion\\p{L}*|resenas?|mensajes?|comment[oi]|recension[ei]|messaggi\\p{L}*",
);
const manners = words(
  "(?:negativ|positiv|neutral|angr|happ|unhapp|rude|polit|friendl|unfriendl|sarcas|critic|prais|upset|frustrat|annoyed|satisf|dissatisf)\\p{L}*",
  "(?:wutend|verarger|hoflich|unhoflich|freundlich|unfreundlich|zufrieden|unzufrieden|kritisch|lob)\\p{L}*",
  "(?:negati|positi|fache|content|mecontent|poli|critique|enfad|satisfech|insatisfech|amable|arrabbiat|soddisfatt|insoddisfatt|gentil)\\p{L}*",
);
const judged = words(
  "sentiments?|mood|tone of|complaints?|complain|stimmung|tonfall|beschwer\\p{L}*|plaintes?|quejas?|lamentel[ae]|reclami",
);
/** Chinese has no spaces between words. */
const chineseComputed =
  /多少|几[个条次家人位天]|总[数额计和量]|合计|平均|最[高低多少大小早晚新]|统计|排序|排名|占比|比例|列出|求和/u;
const chineseWorded = /总结|概括|概述|为什么|为何|翻译|解释|描述|分析|撰写|负面|正面|投诉|情绪|评价如何|写一/u;

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
  if (worded.test(question.replace(meanValue, "average")) || chineseWorded.test(question)) return false;
  if (judged.test(question) || (texts.test(question) && manners.test(question))) return false;
  return (
    computed.test(question) ||
    chineseComputed.test(question) ||
    (/[?？]\P{L}*$/u.test(question) && !asksOnePlace({ prompt, ...defined({ task }) }))
  );
}
