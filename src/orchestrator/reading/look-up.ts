import { fold } from "../recall/text-index.ts";
import words from "./look-up-words.json" with { type: "json" };

/** Alternatives of patterns for folded text; the first five languages are held to the bars of `pick.test.ts`. */
interface Language {
  /** What stands in its patterns, and in fragments that all languages share, as `${NAME}`. */
  readonly fragments?: Readonly<Record<string, string>>;
  /** How a look-up begins. */
  readonly asks: readonly string[];
  /** Words after which the answer may depend on every part. */
  readonly whole: readonly string[];
  /** Fixed expressions with such a word that name one thing: a first name, a company's registered name. */
  readonly names: string;
}

/** A limit that was set, not the largest of measured values. */
const allowed =
  "may|must|darf|muss|durfen|mussen|peut|doit|puede|debe|puo|deve|mag|pode|allowed|permitted|permissible|accepted|supported|legal|zulassig\\p{L}*|erlaubt\\p{L}*|zugelassen\\p{L}*|vorgeschrieben\\p{L}*|" +
  "admis\\p{L}*|autoris\\p{L}*|permis\\p{L}*|permitid\\p{L}*|admitid\\p{L}*|autorizad\\p{L}*|consentit\\p{L}*|ammess\\p{L}*|toegestane?";
const permitted =
  `${allowed}|` +
  "(?:in|according to|laut|gemaß|selon|segun|secondo|dans|en|nella?|im) (?:the |der |dem |la |le |el |il )?(?:config\\p{L}*|konfig\\p{L}*|settings?|contract|vertrag|contrato?|contratto|spec\\p{L}*|data ?sheet|datenblatt|ficha|scheda|fiche)";
const measured =
  "recorded|reached|measured|observed|logged|ever|gemessen\\p{L}*|erreicht\\p{L}*|verzeichnet\\p{L}*|atteinte?|mesuree?|enregistree?|" +
  "registrad[oa]|alcanzad[oa]|medid[oa]|raggiunt[oa]|misurat[oa]|registrat[oa]";
const extreme = "(?:maxim|minim|massim|maksim)\\p{L}*";
const largest = `${extreme}|(?:high|low|long|larg|small|short|heavi)est|(?:hoch|große?|kleine?|lang|niedrig)s?te[nrs]?`;

/** One document, whose total is stated on it. */
const documents =
  "invoice|bill|receipt|ticket|(?<=the )quote|contract|lease|vertrag|bail|contrato|contratto|quotation|order|estimate|rechnung|quittung|bestellung|angebot|facture|recu|devis|commande|" +
  "factura|recibo|presupuesto|pedido|fattura|ricevuta|scontrino|preventivo|ordine|fatura|factuur";
const totals =
  "(?:grand |sub)?total(?:e|es|s)?|totalen?|sum|summe|somme|suma|somma|soma|amount|gesamt(?:summe|betrag|preis|kosten|miete)|brutto\\p{L}*|netto\\p{L}*";

function filled(pattern: string, fragments: Readonly<Record<string, string>>): string {
  return pattern.replaceAll(/\$\{(\w+)\}/g, (_all, name: string) => filled(fragments[name] ?? "", fragments));
}

const compiled = Object.values<Language>(words.languages).map(({ fragments = {}, asks, whole, names }) => ({
  asks: asks.map((each) => new RegExp(`^(?:${filled(each, { ...words.fragments, ...fragments })})`, "u")),
  whole: new RegExp(`(?<![\\p{L}\\p{N}])(?:${whole.join("|")})(?![\\p{L}\\p{N}])`, "u"),
  names: new RegExp(`(?<!\\p{L})(?:${names})(?!\\p{L})`, "gu"),
}));

const totalOf = new RegExp(
  `(?<!\\p{L})(?:${totals})(?!\\p{L})(?=.{0,60}(?<!\\p{L})(?:${documents})(?!\\p{L}))|(?<=(?<!\\p{L})(?:${documents})(?!\\p{L}).{0,60})(?<!\\p{L})(?:${totals})(?!\\p{L})`,
  "gu",
);
const largestWord = new RegExp(`(?<!\\p{L})(?:${largest})(?!\\p{L})`, "gu");
const isPhysical = new RegExp(`(?<!\\p{L})(?:${words.fragments.physical})(?!\\p{L})`, "u");
const isPermitted = new RegExp(`(?<!\\p{L})(?:${permitted})(?!\\p{L})`, "u");
const isMeasured = new RegExp(`(?<!\\p{L})(?:${measured})(?!\\p{L})`, "u");
const isAllowed = new RegExp(`(?<!\\p{L})(?:${allowed})(?!\\p{L})`, "u");
const isLargest = new RegExp(largestWord.source, "u");
const isExtreme = new RegExp(`(?<!\\p{L})(?:${extreme})(?!\\p{L})`, "u");

/** Politeness, and where to look, before the question. */
const lead = new RegExp(
  `^(?:${[
    "(?:good|guten|bonne|buen[oa]?s?|buon) ?\\p{L}{3,7}|buongiorno|please|bitte|s'il (?:te|vous) plait|por favor|per favore|per piacere|hi|hello|hallo|bonjour|hola|ciao|quick question",
    "(?:(?:can|could|would|will) you (?:please )?)?(?:tell me|find out|let me know)(?= (?:what|which|who|when|where|how|in|on|at|until|by))",
    "(?:i(?:'d| would) like|i (?:want|need)) to know|do you know|i was wondering|would you mind telling me",
    "(?:(?:kannst|konntest) du|konnen sie|konnten sie)?(?: mir)?(?: bitte)? ?sag(?:e|en|t)?(?: mir)?|(?:kannst du|konnen sie) mir (?:bitte )?sagen|ich (?:mochte|will) wissen|weißt du|ich (?:wusste|wußte) gern|doch bitte",
    "(?:peux-tu|pouvez-vous|pourrais-tu|pourriez-vous) me dire|dis-moi|dites-moi|(?:je (?:voudrais|veux)|j'aimerais) savoir",
    "(?:puedes|puede|podrias|podria) decirme|dime|me podria decir|(?:quiero|quisiera|queria) saber|sabes",
    "(?:puoi|puo|potresti|potrebbe) dirmi|dimmi|mi saprebbe dire|(?:vorrei|mi piacerebbe) sapere|sai",
    "(?:in|according to|per|from|under|laut|gemaß|nach|im|selon|d'apres|dans|segun|en|secondo|nel|nella|nell'|volgens|segundo) ?[^,:?!]{1,60}[,:]",
  ].join("|")})[ ,:]+`,
  "u",
);
/** A greeting, which is no question. */
const greeting =
  /^(?:hi|hello|hey|good \p{L}+|hallo|guten \p{L}+|bonjour|salut|hola|buen[oa]s \p{L}+|ciao|buongiorno)$/u;
/** As people type. */
const typed: readonly (readonly [RegExp, string])[] = [
  [/^(?:whats|wats|wat's|what s)(?= )/, "what's"],
  [/^wat(?= is the )/, "what"],
  [/^(?:c'est quoi|c (?:koi|quoi))(?= )/, "quel est"],
  [/^quell?e? et(?= )/, "quel est"],
  [/^qual'? ?[e'](?= )/, "qual e"],
  [/^(?:q|k)(?= )/, "que"],
  [/^ke(?= )/, "che"],
];
/** Whom only all of a story tells. */
const unnamed =
  /(?<!\p{L})(?:murderer|killer|culprit|thief|hero|villain|morder(?:in)?|tater(?:in)?|dieb|schuldige|assassin|coupable|voleur|asesin[oa]|culpable|ladron|assassin[oa]|colpevole|ladro)(?!\p{L})/u;
/** How to answer, after it. */
const form =
  /^(?:just|only|please|answer|reply|respond|give only|be brief|keep it|one (?:word|number|line)|nur|antworte|bitte nur|kurz|reponds|repondez|seulement|responde|solo|rispondi|in one|as a|no explanation|thanks|thank you|danke|merci|gracias|grazie)(?!\p{L})/u;
/** `Ingrid Falk`, `Mme Vaillancourt`, `Dr. Hellwig`: a person, at the end of a question. */
const person =
  /^\P{L}*(?:Who|Wer|Qui|Qui[eé]n|Chi|Quem|Wie) (?:is|ist|est|es|[eè]|é) (?:(?:Mrs?|Ms|Miss|Dr|Prof|Herr|Frau|M|Mme|Mlle|Sra?|do[nñ]a?|Sig(?:\.?ra)?|Dott(?:\.?ssa)?|Ing|Avv|Dhr|Mevr)\.? )*\p{Lu}[\p{L}'’-]+(?: (?:d[aeiou]s?|della?|von|van|der|den|le|la|y) | )?(?:\p{Lu}[\p{L}.'’-]*(?: (?:d[aeiou]s?|della?|von|van|der|la|y) | )?)*\s*[?]?$/u;
/** In German every noun has a capital. */
const germanNoun = /^\P{L}*Wer ist \p{L}+[?\s]*$/u;
/** What asks, with a preposition that says nothing about order. */
const interrogative =
  /^(?:[\p{L}']+ ){0,3}?(?:how (?:many|much)|how|what|which|whom?|wie ?viele?|welche[rsmn]?|combien|quel(?:le)?|qui|cuant[oa]s?|que|quant[oiae]|qual[ei]?|che(?: cosa)?|chi|hoeveel|welke?)(?!\p{L})/u;
const properName = / (\p{Lu}[\p{L}'’.-]*(?: (?:d[aeiou]s?|della?|von|van|der|la|y))?(?: \p{Lu}[\p{L}'’.-]+)+)/gu;
/** What is only cited. */
const quoted = /"[^"]*"|`[^`]*`|“[^”]*”|«[^»]*»|„[^“”]*[“”]|[\p{L}\p{N}-]+[._/][\p{L}\p{N}._/-]*[\p{L}\p{N}]/gu;
/** A look-up is short, and so is a list of them. */
const maxWords = 30;
const maxCharacters = 600;
const maxLookUps = 2;
/** "Please, according to the lease, tell me …" */
const maxLeads = 3;

/**
 * A look-up asks for one value that a text states once: an attribute of one thing ("the port of the proxy"), a limit or
 * a term ("how many days may …"), who, when or where one named thing is, what a code means. It is recognized by how it
 * begins, in words that belong together by grammar (interrogative, verb of state, definite singular), and by what does not
 * follow: ranks, quantities over many things, order, causes, negations, views. All else reads the whole text, a doubt too.
 */
export function isLookUp(prompt: string): boolean {
  // Patterns take quadratic time in the length of a word.
  if (prompt.length > maxCharacters || /\S{80}/.test(prompt)) return false;
  const sentences = prompt
    .trim()
    .split(/(?<=[?!])\s+|(?<=[\p{L}\d]{3}[.])\s+(?=\p{Lu})|\n+/u)
    .filter((sentence, at, all) =>
      at === 0 ? all.length === 1 || !greeting.test(plain(sentence)) : !form.test(plain(sentence)),
    );
  return sentences.length > 0 && sentences.length <= maxLookUps && sentences.every(isOneLookUp);
}

function isOneLookUp(sentence: string): boolean {
  const asked = typed.reduce((text, [as, meant]) => text.replace(as, meant), withoutLead(plain(sentence)));
  if (unnamed.test(asked)) return false;
  // A name of several words is as definite as one in quotation marks.
  const named = withoutLead(plain(sentence.replaceAll(properName, " `$1`")));
  if (asked.split(" ").length > maxWords) return false;
  if (person.test(sentence.trim()) && !germanNoun.test(sentence)) return true;
  const matching = compiled.filter(({ asks }) => asks.some((each) => each.test(asked) || each.test(named)));
  // A question that two languages share is a look-up in both.
  return matching.length > 0 && !matching.some((language) => asksWhole(asked, language));
}

function withoutLead(asked: string): string {
  let left = asked;
  for (let at = 0; at < maxLeads; at += 1) left = left.replace(lead, "");
  return left;
}

/** Whether a word after the interrogative makes the answer depend on every part. */
function asksWhole(asked: string, { whole, names }: (typeof compiled)[number]): boolean {
  const rest = asked
    .replace(interrogative, " ")
    .replaceAll(quoted, " ")
    .replaceAll(names, " ")
    .replaceAll(totalOf, " ");
  if (!isLargest.test(rest)) return whole.test(rest);
  const isNamed = isExtreme.test(rest) && (isPermitted.test(rest) || isPhysical.test(rest));
  const isLimit = !isMeasured.test(asked) && (isAllowed.test(asked) || isNamed);
  return !isLimit || whole.test(rest.replaceAll(largestWord, " "));
}

/** Folded, on one line, with one kind of apostrophe and without the marks around it. */
function plain(sentence: string): string {
  return fold(sentence)
    .replaceAll(/[’‘´]/g, "'")
    .replaceAll(/\s+/g, " ")
    .replaceAll(/^[\s*_>-]+|[¿¡]|[\s?!.]+$/g, "");
}
