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

/**
 * Alternatives in all languages. `allowed`: a limit that was set, not the largest of `measured` values. `documents` are
 * such whose total (`totals`) is stated on them. `lead`: politeness, and where to look, before the question; `form`: how to
 * answer, after it. `typed`: as people type. `unnamed`: whom only all of a story tells.
 */
const { documents, totals, ...shared } = words.shared;
const anyLargest = `${shared.extreme}|${shared.largest}`;

const word = (alternatives: string, flags = "u"): RegExp =>
  new RegExp(`(?<!\\p{L})(?:${alternatives})(?!\\p{L})`, flags);

function filled(pattern: string, fragments: Readonly<Record<string, string>>): string {
  return pattern.replaceAll(/\$\{(\w+)\}/g, (_all, name: string) => filled(fragments[name] ?? "", fragments));
}

const compiled = Object.values<Language>(words.languages).map(({ fragments = {}, asks, whole, names }) => ({
  asks: asks.map((each) => new RegExp(`^(?:${filled(each, { ...words.fragments, ...fragments })})`, "u")),
  whole: new RegExp(`(?<![\\p{L}\\p{N}])(?:${whole.join("|")})(?![\\p{L}\\p{N}])`, "u"),
  names: word(names, "gu"),
}));

const totalOf = new RegExp(
  `(?<!\\p{L})(?:${totals})(?!\\p{L})(?=.{0,60}(?<!\\p{L})(?:${documents})(?!\\p{L}))|(?<=(?<!\\p{L})(?:${documents})(?!\\p{L}).{0,60})(?<!\\p{L})(?:${totals})(?!\\p{L})`,
  "gu",
);
const largestWord = word(anyLargest, "gu");
const isLargest = word(anyLargest);
const isPhysical = word(words.fragments.physical);
const isPermitted = word(`${shared.allowed}|${shared.permitted}`);
const isMeasured = word(shared.measured);
const isAllowed = word(shared.allowed);
const isExtreme = word(shared.extreme);
const isUnnamed = word(shared.unnamed);

const lead = new RegExp(`^(?:${shared.lead.join("|")})[ ,:]+`, "u");
/** It is no question. */
const greeting = new RegExp(`^(?:${shared.greeting})$`, "u");
const form = new RegExp(`^(?:${shared.form})(?!\\p{L})`, "u");
const typed = shared.typed.map(([as = "", meant = ""]) => [new RegExp(as), meant] as const);
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
  if (isUnnamed.test(asked)) return false;
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
