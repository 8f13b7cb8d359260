/** Whether the values of a JSON answer stand in the text that it was made from. Pure. */
import type { JsonSchema } from "../api/types.ts";
import { type Token, areCurrencies, isUnit, numeralsOf, tokensOf, unitOf } from "./notations.ts";
import { isRecord, getOrInsert } from "../util/values.ts";
import { ValueLines, wantedOf } from "./value-lines.ts";
import { codeFinder, plain, plainNumber, scannedForms, spelledOut } from "./values.ts";

/** What the values of an answer are looked for in. */
interface GroundText {
  readonly path: string;
  readonly text: string;
}

/** What is asked: words of the request may be an answer's, and a task that makes something has values of its own. */
interface GroundQuestion {
  readonly prompt: string;
  /** The text is to be changed, judged or summed up: words of the answer are the model's own. */
  readonly isMade?: boolean;
}

/** Longer strings that don't stand in the text are taken for the model's own words. */
const mostWords = 12;

/** Names and descriptions of what is made of a text and doesn't stand in it. */
const madeNames =
  /^(?:summary|abstract|tldr|zusammenfassung|resume|resumen|riassunto|translation|translated|ubersetzung|traduction|traduccion|traduzione|explanation|explain|reason|reasoning|rationale|analysis|comment|comments|message|suggestion|recommendation|advice|fix|improvement|conclusion|opinion|evaluation|assessment|verdict|issue|problem|finding|category|class|classification|label|labels|kind|type|topic|topics|theme|themes|sentiment|tone|mood|severity|priority|risk|impact|difficulty|language|headline|title|subject|keyword|keywords|begrundung|kommentar|kategorie|categorie|categoria|thema|sujet|tema|grund|raison|motivo)$/;
const countedNames =
  /^(?:count|counts|counter|score|rating|rank|confidence|probability|percentage|sum|average|mean|median|difference|anzahl|nombre|cantidad|line|lines|zeile|ligne|index|id|position)$/;
const madeWords =
  /\b(?:summar\w+|translat\w+|in (?:your )?own words|explain\w*|classif\w+|categor\w+|infer\w*|estimat\w+|derive\w*|comput\w+|calculat\w+|how many|number of|count\w*|zusammenfass\w+|ubersetz\w+|anzahl|resum\w+|tradu\w+|nombre de|numero de|riassum\w+)\b/;

const booleans = /^(?:true|false|yes|no|ja|nein|oui|non|si|sí)$/i;

interface Leaf {
  readonly pointer: string;
  readonly names: readonly string[];
  readonly value: unknown;
  readonly schemas: readonly JsonSchema[];
}

/**
 * Strings and numbers of an answer, each looked for in the text in any usual notation. `where` has `file:line` by pointer;
 * `notJudged` and `missing` are pointers: of values that no text can prove (booleans, enumerations, long texts, and what is
 * to be made of the text), and of those that don't stand in it.
 */
export function ground(
  answer: unknown,
  schema: JsonSchema | undefined,
  texts: readonly GroundText[],
  { prompt, isMade = false }: GroundQuestion,
) {
  const numbers = numeralsOf(texts.map(({ text }) => text.slice(0, 20_000)).join("\n"));
  const question = new ValueIndex(prompt, numbers);
  const [where, notJudged, missing] = [{} as Record<string, string>, [] as string[], [] as string[]];
  const stated = leavesOf(answer, schema).filter(
    ({ value }) => value !== null && !(typeof value === "string" && value.trim() === ""),
  );
  const exempt = ({ value, schemas }: Leaf) =>
    typeof value === "boolean" || schemas.some((each) => "enum" in each || "const" in each);
  const soughts = stated
    .filter((leaf) => !exempt(leaf))
    .map((leaf): Sought => {
      const { value, names } = leaf;
      const shown = typeof value === "number" ? plainNumber(value) : bareOf(value as string);
      const name = names.join(" ").replaceAll(/(\p{Ll})(\p{Lu})/gu, "$1 $2");
      const field = tokensOf(name, new Map()).map(({ word }) => word);
      return { leaf, shown, tokens: tokensOf(shown, numbers), field };
    });
  const places = placesOf(
    soughts,
    texts.map(({ text }) => text),
    numbers,
  );
  for (const leaf of stated) {
    const at = soughts.findIndex((each) => each.leaf === leaf);
    const [sought, place] = [soughts[at], places.get(at)];
    if (place !== undefined) where[leaf.pointer] = `${texts[place.text]?.path}:${place.line}`;
    else if (
      sought === undefined ||
      isOwnWords(sought, isMade) ||
      (!hasNumber(sought.tokens) && question.has(sought.tokens))
    )
      notJudged.push(leaf.pointer);
    else missing.push(leaf.pointer);
  }
  return { where, notJudged, missing };
}

interface Sought {
  readonly leaf: Leaf;
  readonly shown: string;
  readonly tokens: readonly Token[];
  /** The words of its name, which it may repeat. */
  readonly field: readonly string[];
}

interface Place {
  readonly text: number;
  readonly line: number;
}

/** Longer texts are read only where a value may stand. */
const quickCharacters = 200_000;
/** Places of each value that are read first, as most values are found there; then ten times as many. */
const firstPlaces = 20;

function placesOf(soughts: readonly Sought[], texts: readonly string[], numbers: ReadonlyMap<string, number>) {
  const found = new Map<number, Place>();
  const read = (some: readonly string[]): void => {
    const indexes = some.map((text) => new ValueIndex(text, numbers));
    for (const [at, sought] of soughts.entries()) {
      const place = found.has(at) ? undefined : placeOf(sought, indexes);
      if (place !== undefined) found.set(at, place);
    }
  };
  if (texts.reduce((sum, { length }) => sum + length, 0) <= quickCharacters) {
    read(texts);
    return found;
  }
  const wanted = soughts.map(({ tokens, field, shown }) =>
    wantedOf(tokens, new Set(field), codeFinder(shown), numbers),
  );
  const lines = new ValueLines(texts, wanted);
  for (
    let [from, to, isAll] = [0, firstPlaces, false];
    !isAll && found.size < soughts.length;
    [from, to] = [to, to * 10]
  ) {
    const left = [...soughts.keys()].filter((at) => !found.has(at));
    const excerpts = lines.excerpts(left, from, to);
    isAll = excerpts.isAll;
    read(excerpts.texts);
  }
  return found;
}

function placeOf(sought: Sought, indexes: readonly ValueIndex[]): Place | undefined {
  for (const way of ["wordForWordLineOf", "lineOf", "compactLineOf", "otherwiseLineOf"] as const) {
    for (const [text, index] of indexes.entries()) {
      const line = index[way](sought);
      if (line !== undefined) return { text, line };
    }
  }
  return undefined;
}

/** Without what a text need not have: the time of a bare date, the scheme and `www.` of an address. */
function bareOf(value: string): string {
  const [, date = value] = /^\s*(\d{4}-\d\d-\d\d)[T ]00:00(?::00(?:\.0+)?)?(?:Z|[+-]00:?00)?\s*$/.exec(value) ?? [];
  const [, address = date] = /^\s*(?:https?:\/\/(?:www\.)?|www\.|mailto:|tel:)(\S+?)\/?\s*$/i.exec(date) ?? [];
  return address;
}

const hasNumber = (tokens: readonly Token[]): boolean => tokens.some(({ forms }) => forms.length > 0);

/** Whether a value that doesn't stand in the text need not stand there. */
function isOwnWords({ leaf: { value, schemas }, tokens, field }: Sought, isMade: boolean): boolean {
  if (tokens.length === 0) return true;
  const described = schemas.map(({ description }) => (typeof description === "string" ? description : "")).join(" ");
  if (madeWords.test(described.toLowerCase())) return true;
  if (typeof value === "number") return field.some((word) => countedNames.test(word));
  if (tokens.length > mostWords || booleans.test((value as string).trim())) return true;
  return field.some((word) => madeNames.test(word)) || (isMade && !hasNumber(tokens));
}

function leavesOf(answer: unknown, schema: JsonSchema | undefined): readonly Leaf[] {
  const leaves: Leaf[] = [];
  const waiting: Leaf[] = [{ pointer: "", names: [], value: answer, schemas: expanded(schema, schema) }];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { pointer, names, value, schemas } = next;
    if (typeof value !== "object" || value === null) leaves.push(next);
    else {
      const isList = Array.isArray(value);
      const inner = Object.entries(value).map(([key, each]): Leaf => {
        const path = `${pointer}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;
        // The elements of a list are named as the list.
        return {
          pointer: path,
          names: isList ? names : [key],
          value: each,
          schemas: innerSchemas(schemas, key, isList, schema),
        };
      });
      waiting.push(...inner.toReversed());
    }
  }
  return leaves;
}

/** What is said about a member or an element. */
function innerSchemas(schemas: readonly JsonSchema[], key: string, isList: boolean, root: JsonSchema | undefined) {
  return schemas.flatMap(({ properties, additionalProperties, items, prefixItems }) => {
    const first = Array.isArray(prefixItems) ? prefixItems[Number(key)] : undefined;
    const own = isRecord(properties) && Object.hasOwn(properties, key) ? properties[key] : additionalProperties;
    return expanded(isList ? (first ?? items) : own, root);
  });
}

const maxSchemas = 64;

/** A schema with those that it refers to or is put together from. */
function expanded(schema: unknown, root: JsonSchema | undefined): readonly JsonSchema[] {
  const found: JsonSchema[] = [];
  const waiting: unknown[] = [schema];
  for (let next = waiting.pop(); next !== undefined && found.length < maxSchemas; next = waiting.pop()) {
    if (!isRecord(next) || found.includes(next)) continue;
    found.push(next);
    for (const union of ["anyOf", "oneOf", "allOf"])
      if (Array.isArray(next[union])) waiting.push(...(next[union] as unknown[]));
    const { $ref } = next;
    if (typeof $ref === "string" && $ref.startsWith("#")) {
      const steps = $ref
        .slice(1)
        .split("/")
        .slice(1)
        .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
      waiting.push(steps.reduce<unknown>((at, step) => (isRecord(at) ? at[step] : undefined), root));
    }
  }
  return found;
}

/** The tokens of a text, by what they mean. */
class ValueIndex {
  readonly #tokens: readonly Token[];
  /** All words without spaces, so that `Geburts-` + `tag` and `Bet rag` are found; and which token begins where. */
  readonly #joined: string;
  readonly #starts: ReadonlyMap<number, number>;
  readonly #byForm = new Map<string, number[]>();
  #byWord: Map<string, number[]> | undefined;

  readonly #text: string;
  readonly #numerals: ReadonlyMap<string, number>;
  #folded: string | undefined;
  #readings: readonly ValueIndex[] | undefined;
  #spelled: ValueIndex | undefined;

  constructor(text: string, numbers: ReadonlyMap<string, number>) {
    const tokens = tokensOf(text, numbers);
    this.#text = text;
    this.#numerals = numbers;
    this.#tokens = tokens;
    const starts = new Map<number, number>();
    let at = 0;
    for (const [index, { word, forms, sole, isFree }] of tokens.entries()) {
      starts.set(at, index);
      at += word.length;
      if (isFree) for (const form of [...forms, ...sole]) getOrInsert(this.#byForm, form, () => []).push(index);
    }
    starts.set(at, tokens.length);
    this.#joined = tokens.map(({ word }) => word).join("");
    this.#starts = starts;
  }

  has(tokens: readonly Token[]): boolean {
    return this.#run(tokens) !== undefined;
  }

  /** The line where a text with words, or with spaces, stands as it is, but for case, accents and white space. */
  wordForWordLineOf({ shown }: Sought): number | undefined {
    const wanted = plain(shown).trim();
    if (!/\p{L}|\s/u.test(wanted) || wanted.length > 500) return undefined;
    const words = wanted.split(/\s+/).map((word) => word.replaceAll(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`));
    this.#folded ??= plain(this.#text);
    const pattern = new RegExp(`(?<![\\p{L}\\p{N}_])${words.join(String.raw`\s+`)}(?![\\p{L}\\p{N}_])`, "u");
    const at = pattern.exec(this.#folded)?.index;
    return at === undefined ? undefined : this.#folded.slice(0, at).split(/\r\n|\r|\n/).length;
  }

  /** The line where a value stands. */
  lineOf({ tokens, field: names }: Sought): number | undefined {
    const field = new Set(names);
    const named = tokens.filter(({ word }) => !field.has(word));
    // A currency or unit that is a value of its own.
    const inUnits = tokens.map((token) => ({ ...token, word: unitOf(token.word) }));
    const ways = [tokens, ...(named.length === tokens.length || named.length === 0 ? [] : [named]), inUnits];
    for (const way of ways) {
      const [first] = way;
      // A number, or the name of a month, which dates have in any form.
      const isSole = way.length === 1 && first !== undefined && first.forms.length + first.sole.length > 0;
      const found = isSole ? this.#numbers(first)[0] : (this.#run(way) ?? this.#amount(way, field) ?? this.#near(way));
      if (found !== undefined) return this.#tokens[found]?.line;
    }
    return undefined;
  }

  /** Where the tokens stand one after the other. */
  #run(tokens: readonly Token[]): number | undefined {
    const needle = tokens.map(({ word }) => word).join("");
    if (needle === "") return undefined;
    const numbers = tokens.filter(({ forms }) => forms.length > 0);
    for (let at = this.#joined.indexOf(needle); at >= 0; at = this.#joined.indexOf(needle, at + 1)) {
      const [from, to] = [this.#starts.get(at), this.#starts.get(at + needle.length)];
      if (from === undefined || to === undefined) continue;
      const own = this.#tokens.slice(from, to).filter(({ forms }) => forms.length > 0);
      if (numbers.every((number, index) => means(number, own[index]))) return from;
    }
    return undefined;
  }

  /** The tokens that mean a number, no pieces of identifiers. */
  #numbers(number: Token): readonly number[] {
    const found = meanings(number).flatMap((form) => this.#byForm.get(form) ?? []);
    const meant = found.filter((at) => means(number, this.#tokens[at]));
    if (meant.length > 0) return meant.toSorted((a, b) => a - b);
    // A date without its year, which stands elsewhere.
    return number.forms.flatMap((form) => {
      const [, year, rest] = /^d(\d{4})(-\d\d-\d\d)$/.exec(form) ?? [];
      if (year === undefined || !this.#byForm.has(year)) return [];
      const day = `d-${rest}`;
      return (this.#byForm.get(day) ?? []).filter((at) => this.#tokens[at]?.forms.includes(day));
    });
  }

  /** A number with a unit that the text names elsewhere, as in the head of a table, and no other unit beside it. */
  #amount(tokens: readonly Token[], field: ReadonlySet<string>): number | undefined {
    const numbers = tokens.filter(({ forms }) => forms.length > 0);
    const unit = tokens.filter(({ forms }) => forms.length === 0).map(({ word }) => word);
    const [number] = numbers;
    if (number === undefined || numbers.length > 1 || unit.length > 2) return undefined;
    const isMoney = areCurrencies(unit);
    if (!isMoney && !unit.every((word) => field.has(word) || this.#words().has(word))) return undefined;
    if (!isMoney && !unit.every(isUnit)) return undefined;
    return this.#numbers(number).find((at) => {
      const beside = this.#tokens[at + 1];
      return (
        beside === undefined ||
        unit.includes(beside.word) ||
        !isUnit(beside.word) ||
        beside.line !== this.#tokens[at]?.line
      );
    });
  }

  /** That of a long number or code whose characters are grouped otherwise: telephone and account numbers. */
  compactLineOf({ shown }: Sought): number | undefined {
    const at = codeFinder(shown)?.(this.#text) ?? -1;
    return at < 0 ? undefined : this.#text.slice(0, at).split("\n").length;
  }

  /** That of a value in which a scan has digits for letters, or letters for digits, or `ue` stands for `ü`. */
  otherwiseLineOf(sought: Sought): number | undefined {
    this.#readings ??= scannedForms(this.#text).map((text) => new ValueIndex(text, this.#numerals));
    for (const index of this.#readings) {
      const line = index.lineOf(sought);
      if (line !== undefined) return line;
    }
    if (!/[äöüøå]|[aou]e|aa/i.test(sought.shown)) return undefined;
    this.#spelled ??= new ValueIndex(spelledOut(this.#text), this.#numerals);
    return this.#spelled.lineOf({ ...sought, tokens: tokensOf(spelledOut(sought.shown), this.#numerals) });
  }

  #words(): Map<string, number[]> {
    if (this.#byWord !== undefined) return this.#byWord;
    const words = new Map<string, number[]>();
    for (const [index, { word }] of this.#tokens.entries()) getOrInsert(words, word, () => []).push(index);
    this.#byWord = words;
    return words;
  }

  /** Where the words of a name, or a date and a time, stand close together, in any order. */
  #near(tokens: readonly Token[]): number | undefined {
    const words = [...new Map(tokens.map((each) => [each.forms[0] ?? each.word, each])).values()];
    const isMoment = tokens.every(({ forms: [form = ""] }) => /^[dt]/.test(form));
    if (words.length < 2 || !(isMoment || !hasNumber(tokens))) return undefined;
    const places = words.map((each) => (isMoment ? this.#numbers(each) : (this.#words().get(each.word) ?? [])));
    const rarest = places.reduce((least, each) => (each.length < least.length ? each : least));
    const reach = words.length + 3;
    return rarest.find((at) => places.every((each) => each.some((other) => Math.abs(other - at) <= reach)));
  }
}

/** A date is more than its year. */
function meanings({ forms, sole }: Token): readonly string[] {
  if (forms.some((form) => form.startsWith("d"))) return forms;
  return [...forms, ...(forms[0]?.startsWith("a") === true ? sole.filter((form) => form.startsWith("d")) : sole)];
}

/** Whether a number of a text means that of a value. */
function means(value: Token, token: Token | undefined): boolean {
  if (token === undefined) return false;
  const isIn = (form: string): boolean => token.forms.includes(form) || token.sole.includes(form);
  // The name of a month may stand in any date.
  return (
    value.forms.some(isIn) || value.sole.some(value.forms.length === 0 ? isIn : (form) => token.forms.includes(form))
  );
}
