/** Texts as tokens in which a value is equal in any usual notation: numbers, dates, times, units, number words. Pure. */
import {
  articles,
  common,
  currencies,
  monthPattern,
  months,
  multipliers,
  numbersIn,
  numerals,
  units,
} from "./notation-words.ts";
import { canonical } from "./values.ts";

/** A word, or a number, date or time with all that it may mean. */
export interface Token {
  /** A word, a unit or a sign; `#` for a number. */
  readonly word: string;
  /** What a number may mean: `1384.5`, `d2025-11-15`, `t23:40`, `r2.7.3`; empty for words. */
  readonly forms: readonly string[];
  /** What the token may mean where it stands by itself: a year of a date, a number with its million, digits that stand apart. */
  readonly sole: readonly string[];
  /** It is no piece of an identifier (`9` in `9f31c2`). */
  readonly isFree: boolean;
  /** From 1. */
  readonly line: number;
}

/** The number words of the languages in which a text seems to be written; of all where it is not clear. */
export function numeralsOf(text: string): ReadonlyMap<string, number> {
  const words = plain(text.slice(0, 20_000)).match(/\p{L}+/gu) ?? [];
  const counts = Object.keys(numerals).map((language) => {
    const own = new Set(common[language]?.split(" "));
    return { language, count: words.filter((word) => own.has(word)).length };
  });
  const most = Math.max(...counts.map(({ count }) => count));
  const likely = counts.filter(({ count }) => count * 3 >= most).map(({ language }) => language);
  return new Map(likely.flatMap((language) => [...numbersIn(language)]));
}

/** Equal for texts that differ in case, accents, typography or Unicode form. */
export function plain(text: string): string {
  const folded = text
    .normalize("NFKC")
    .replaceAll(/\p{Default_Ignorable_Code_Point}/gu, "")
    .toUpperCase()
    .toLowerCase()
    .normalize("NFD")
    .replaceAll(/\p{M}/gu, "");
  return folded
    .replaceAll(/(?<![\p{L}\d.,])\.(?=\d)/gu, "0.")
    .replaceAll(/[\u2010-\u2015\u2212]/g, "-")
    .replaceAll(/per cent\b|pour cent\b|per cento\b|por ciento\b/g, "%");
}

const year = String.raw`(?:(?:,? |[-/])?(?:de |del |of )?(?<year>\d{4})(?!\d))?`;
const patterns = [
  String.raw`(?<y>\d{4})(?<s1>[-/.])(?<m>\d\d?)\k<s1>(?<d>\d\d?)(?![\d])t?`,
  String.raw`(?<a>\d{1,2})(?<s2>[./-]) ?(?<b>\d{1,2})\k<s2> ?(?<c>\d{4}|\d\d)(?![.]?\d)`,
  String.raw`(?<day>\d{1,2})(?:st|nd|rd|th|o|er|\.)?[ /-]?(?:de |of )?(?<month>${monthPattern})\b\.?${year}`,
  String.raw`(?<month2>${monthPattern})\.? (?<day2>\d{1,2})(?:st|nd|rd|th)?(?!\d)${year.replace("<year>", "<year2>")}`,
  String.raw`(?<month3>${monthPattern})\b\.?,? (?:de |del |of )?(?<year3>\d{4})(?!\d)`,
  String.raw`(?<y2>(?:19|20)\d\d)-(?<m2>0[1-9]|1[0-2])(?![-\d])`,
  String.raw`(?<hour>\d{1,2}):(?<minute>\d\d)(?::(?<second>\d\d)(?:[.,]\d+)?)?(?!\d)(?:z\b)?(?: ?(?<half>[ap])\.?m\b\.?)?`,
  String.raw`(?<hour2>\d{1,2}) ?(?<half2>[ap])\.?m\b\.?`,
  String.raw`(?<number>-?\d+(?:[.,'’]\d+)*)`,
  String.raw`(?<word>[\p{sc=Han}\p{sc=Hira}\p{sc=Kana}\p{sc=Thai}]|\p{L}+|[%€$£¥])`,
];
const lexed = new RegExp(patterns.join("|"), "gu");

/** The tokens of a text. Words that a line's end cuts at a hyphen are whole. */
export function tokensOf(text: string, numbers: ReadonlyMap<string, number>): readonly Token[] {
  const tokens: Token[] = [];
  let carried: { readonly word: string; readonly line: number } | undefined;
  for (const [at, raw] of text.split(/\r\n|\r|\n/).entries()) {
    const line = cells(plain(raw));
    const own = lineTokens(line, at + 1, numbers);
    const [first] = own;
    if (carried !== undefined && first !== undefined && /^\s*\p{Ll}/u.test(line)) {
      own[0] = { ...first, word: carried.word + first.word, line: carried.line };
    } else if (carried !== undefined && line.trim() !== "") tokens.push(wordToken(carried.word, carried.line));
    else if (carried !== undefined) continue;
    carried = undefined;
    const last = own.at(-1);
    if (last !== undefined && last.forms.length === 0 && /\p{L}[-\u00ac]\s*$/u.test(line)) {
      own.pop();
      carried = { word: last.word, line: last.line };
    }
    // One by one: the line may be a whole file, and arguments are limited.
    for (const token of own) tokens.push(token);
  }
  if (carried !== undefined) tokens.push(wordToken(carried.word, carried.line));
  return tokens;
}

const soleNumber =
  /(?<![^\s;(€$£:>|[])(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3})*,\d+)(?=[\s;:)€%|<\]]|[.,](?:\s|$)|$)/g;

/** In a line of comma-separated values, no comma belongs to a number, unless it is in quotation marks. */
function cells(line: string): string {
  const commas = line.replaceAll(soleNumber, "").match(/,(?=\S)/g) ?? [];
  return commas.length < 2 ? line : line.replaceAll(/"[^"]*"|,/g, (part) => (part === "," ? "\t" : part));
}

const wordToken = (word: string, line: number): Token => ({ word, forms: [], sole: [], isFree: true, line });
const isNumber = ({ forms }: Token): boolean => forms.length > 0;

interface Piece extends Token {
  readonly from: number;
  readonly to: number;
}

function lineTokens(line: string, at: number, numbers: ReadonlyMap<string, number>): Token[] {
  const pieces: Piece[] = [];
  for (const match of line.matchAll(lexed)) {
    const place = { line: at, from: match.index, to: match.index + match[0].length };
    const { word } = match.groups ?? {};
    const last = pieces.at(-1);
    const times = word === undefined ? undefined : multipliers.get(word);
    if (word === undefined) pieces.push({ ...numberOf(line, match), ...place });
    else if (times !== undefined && last !== undefined && isNumber(last) && place.from - last.to < 2) {
      const products = last.forms.map((form) => String(Number((Number(form) * times).toPrecision(12))));
      pieces[pieces.length - 1] = { ...last, forms: products, sole: [...last.sole, ...last.forms], to: place.to };
    }
    // That of a version says nothing.
    else if (word !== "v" || !/\d/.test(line[place.to] ?? "")) {
      const month = months.get(word);
      pieces.push({ ...wordToken(word, at), ...(month && { sole: [`n${month}`] }), ...place });
    }
  }
  return withUnits(withNumerals(pieces, line, numbers), line);
}

const two = (digits: string | undefined): string => (digits ?? "").padStart(2, "0");
const full = (digits: string): string => (digits.length === 2 ? `20${digits}` : digits);

function numberOf(line: string, { index, groups = {}, 0: text }: RegExpExecArray): Omit<Token, "line"> {
  const { y, m, d, a, b, c, day, month, hour, minute, second, number } = groups;
  const [name, dayOfName] = [month ?? groups["month2"], day ?? groups["day2"]];
  const dated = (
    dates: readonly (readonly [string | undefined, string | undefined, string | undefined])[],
    raw: string,
  ) => {
    const valid = dates.filter(
      ([, mm, dd]) => Number(mm) >= 1 && Number(mm) <= 12 && Number(dd) >= 1 && Number(dd) <= 31,
    );
    const forms = valid.map(([yy, mm, dd]) => `d${yy ?? "-"}-${two(mm)}-${two(dd)}`);
    const years = valid.flatMap(([yy]) => yy ?? []);
    const partial = valid.flatMap(([yy, mm, dd]) => [
      `n${Number(mm)}`,
      ...(yy === undefined ? [] : [`m${yy}-${two(mm)}`, `d--${two(mm)}-${two(dd)}`]),
    ]);
    return { word: "#", forms: [...forms, ...canonical(raw)], sole: [...years, ...partial], isFree: true };
  };
  if (y !== undefined) return dated([[y, m, d]], `${y}-${m}-${d}`);
  if (c !== undefined)
    return dated(
      [
        [full(c), b, a],
        [full(c), a, b],
      ],
      text,
    );
  if (name !== undefined)
    return dated([[groups["year"] ?? groups["year2"], String(months.get(name)), dayOfName]], text);
  const [yearOnly, monthOnly] = [groups["year3"] ?? groups["y2"], groups["m2"] ?? months.get(groups["month3"] ?? "")];
  if (yearOnly !== undefined) {
    const sole = [yearOnly, `n${Number(monthOnly)}`];
    return { word: "#", forms: [`m${yearOnly}-${two(String(monthOnly))}`], sole, isFree: true };
  }
  const hours = hour ?? groups["hour2"];
  if (hours !== undefined)
    return { word: "#", ...timeForms(hours, minute, second, groups["half"] ?? groups["half2"]), isFree: true };
  const digits = (number ?? text).replaceAll(/['’]/g, "");
  // Lines may be long.
  const [before, rest] = [
    line.slice(Math.max(0, index - 3), index),
    line.slice(index + text.length, index + text.length + 40),
  ];
  const isSigned = digits.startsWith("-") && !/[\p{L}\d)\]]$/u.test(before);
  const own = digits.startsWith("-") && !isSigned ? digits.slice(1) : digits;
  const isGlued = /\p{L}$/u.test(before) && !/(?:^|[^\p{L}])v$/u.test(before);
  const [hh, mm] = own.split(".");
  const isTime = /^\d{1,2}\.\d\d$/.test(own) && Number(hh) < 24 && Number(mm) < 60;
  const behind = /^(\p{L}+)(?!\d)/u.exec(rest)?.[1];
  const isUnit =
    behind === undefined ? !/^\p{L}/u.test(rest) : units.has(behind) || /^(?:st|nd|rd|th|er|e|o|x|k|b)$/.test(behind);
  const isCode = isGlued || /[\p{L}_][-_]$/u.test(before) || (own !== digits && /\p{L}$/u.test(before)) || !isUnit;
  const isPart = own.length < 3 && (/\d[/:]$/.test(before) || /^[/:]\d/.test(rest));
  return {
    word: "#",
    // The digits of an identifier are no amount: v1.20 is not v1.2.
    forms: isGlued ? [`r${own}`] : [...canonical(own), ...((own.match(/[.,]/g) ?? []).length > 1 ? [`r${own}`] : [])],
    sole: isTime ? [`t${two(hh)}:${mm ?? ""}`] : [],
    isFree: !(isCode && own.length < 4) && !isPart,
  };
}

function timeForms(
  hours: string,
  minutes: string | undefined,
  seconds: string | undefined,
  half: string | undefined,
): Pick<Token, "forms" | "sole"> {
  const hour = half === undefined ? Number(hours) : (Number(hours) % 12) + (half === "p" ? 12 : 0);
  const short = `t${two(String(hour))}:${minutes ?? "00"}`;
  return seconds === undefined ? { forms: [short], sole: [] } : { forms: [`${short}:${seconds}`], sole: [short] };
}

/** Number words as numbers: `forty-one`, `quatre-vingt-dix`, `two million`. */
function withNumerals(pieces: readonly Piece[], line: string, numbers: ReadonlyMap<string, number>): readonly Piece[] {
  const found: Piece[] = [];
  for (let at = 0; at < pieces.length; at += 1) {
    const first = pieces[at] as Piece;
    if (isNumber(first) || !(numbers.has(first.word) || articles.has(first.word))) {
      found.push(first);
      continue;
    }
    let [total, current, end] = [0, numbers.get(first.word) ?? -1, at];
    if (current >= 0) {
      if (current >= 1_000) [total, current] = [current, 0];
      for (let next = at + 1; next < pieces.length; next += 1) {
        const between = pieces[next] as Piece;
        const gap = line.slice((pieces[next - 1] as Piece).to, between.from);
        if (!/^[ -]$/.test(gap)) break;
        const after = pieces[next + 1]?.word ?? "";
        if (/^(?:and|und|et|y|e)$/.test(between.word) && (numbers.has(after) || articles.has(after))) continue;
        const value = numbers.get(between.word) ?? (articles.has(between.word) ? 1 : undefined);
        const sum = value === undefined ? undefined : added(total, current, value);
        if (sum === undefined) break;
        [[total, current], end] = [sum, next];
      }
    }
    const isArticle = articles.has(first.word) && end === at;
    const value = isArticle ? 1 : total + current;
    const last = pieces[end] as Piece;
    found.push({ ...first, word: "#", forms: [String(value)], isFree: !isArticle, to: last.to });
    at = end;
  }
  return found;
}

/** Undefined where another number begins. */
function added(total: number, current: number, value: number): readonly [number, number] | undefined {
  if (value >= 1_000) return current === 0 ? undefined : [total + current * value, 0];
  if (value === 100) return current > 0 && current < 100 ? [total, current * 100] : undefined;
  if (value === 20 && current % 100 === 4) return [total, current + 76];
  const isOpen = current === 0 || current % 100 === 0 || (value < 20 && current % 100 >= 20 && current % 10 === 0);
  return isOpen && value > 0 && (current > 0 || total > 0) ? [total, current + value] : undefined;
}

/** Units by one name, currencies behind their numbers; what digits mean with the tokens behind them. */
function withUnits(pieces: readonly Piece[], line: string): Token[] {
  const found: Piece[] = [];
  for (const [at, piece] of pieces.entries()) {
    const [before, next] = [pieces[at - 1], pieces[at + 1]];
    const unit = units.get(piece.word);
    const isBehind = before !== undefined && isNumber(before) && line.slice(before.to, piece.from).trim() === "";
    if (isNumber(piece)) {
      found.push({ ...piece, sole: [...piece.sole, ...soleForms(pieces, at, line)] });
      const last = found.at(-2);
      const isBefore =
        last !== undefined && currencies.has(last.word) && !(isNumber(found.at(-3) ?? piece) && found.length > 2);
      if (isBefore && line.slice(last.to, piece.from).trim() === "") found.splice(-2, 2, found.at(-1) as Piece, last);
    } else if (unit !== undefined && (isBehind || (currencies.has(unit) && next !== undefined && isNumber(next)))) {
      found.push({ ...piece, word: unit });
    } else if (!currencies.has(piece.word) || unit === undefined || unit !== piece.word) found.push(piece);
  }
  return found;
}

function soleForms(pieces: readonly Piece[], at: number, line: string): readonly string[] {
  const piece = pieces[at] as Piece;
  const [own = ""] = piece.forms;
  const behind = pieces[at + 1];
  if (behind === undefined || !/^-?\d/.test(own)) return [];
  const raw = line.slice(piece.from, piece.to);
  if (behind.word === "%" || units.get(behind.word) === "%")
    return [String(Number((Number(own) / 100).toPrecision(12)))];
  // Thousands and millions, glued to their digits.
  const times = behind.from === piece.to ? { k: 1_000, m: 1_000_000, b: 1_000_000_000 }[behind.word] : undefined;
  if (times !== undefined) return canonical(raw).map((form) => String(Number((Number(form) * times).toPrecision(12))));
  if (behind.word === "h" || behind.word === "uhr" || behind.word === "ore") {
    const minutes = line.slice(behind.to, (pieces[at + 2]?.to ?? 0) + 1);
    const [, digits = "00"] = /^ ?(\d\d)(?!\d)/.exec(minutes) ?? [];
    return Number(own) < 25 ? [`t${two(own)}:${digits}`] : [];
  }
  // Groups of three digits, and the spaced digits of a scan.
  const rest = line.slice(piece.from, piece.from + 60);
  const [grouped] =
    /^\d{1,3}(?: \d{3})+(?:[.,]\d+)?(?![\d.,]*\d)/.exec(rest) ??
    /^\d(?: \d){2,}(?:[.,] ?\d+)?(?! ?\d)/.exec(rest) ??
    [];
  return grouped === undefined ? [] : canonical(grouped.replaceAll(" ", ""));
}

export const unitOf = (word: string): string => units.get(word) ?? word;
export const isUnit = (word: string): boolean => units.has(word);
export const areCurrencies = (words: readonly string[]): boolean => words.every((word) => currencies.has(word));
