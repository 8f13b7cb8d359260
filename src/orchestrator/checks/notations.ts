/** Texts as tokens in which a value is equal in any usual notation: numbers, dates, times, units, number words. Pure. */
import { articles, months, numbersIn, ordinals, units } from "./notation-words.ts";
import table from "./notation-words.json" with { type: "json" };
import { canonical, plain, times } from "./values.ts";

const monthPattern = [...months.keys()].toSorted((a, b) => b.length - a.length).join("|");
const currencies = new Set(table.currencies.split(" "));
/** What a word makes of the digits before it. */
const multipliers = new Map(
  Object.entries(table.multipliers).flatMap(([words, factor]) =>
    words.split(" ").map((word) => [word, factor] as const),
  ),
);
const gluedMultipliers = new Map(Object.entries(table.gluedMultipliers));

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
  // The last word may be cut.
  const words = plain(text.slice(0, 20_000)).match(/(?<!\p{L})\p{L}+(?!\p{L}|$)/gu) ?? [];
  // Few words that only one of the languages has, or that it has most often.
  const counts = (Object.keys(table.common) as readonly (keyof typeof table.common)[]).map((language) => {
    const own = new Set(table.common[language].split(" "));
    return { language, count: words.filter((word) => own.has(word)).length };
  });
  const most = Math.max(...counts.map(({ count }) => count));
  const likely = counts.filter(({ count }) => count * 3 >= most).map(({ language }) => language);
  return new Map(likely.flatMap((language) => [...numbersIn(language)]));
}

/** Lines that were left out of a text: nothing stands beside what follows. */
export const gap = "\u001e";
/** Scripts without spaces between words: no letter of theirs makes digits part of an identifier. */
const unspaced = String.raw`\p{sc=Han}\p{sc=Hira}\p{sc=Kana}\p{sc=Thai}`;
export const isUnspaced = new RegExp(`[${unspaced}]`, "u");
const letterBefore = new RegExp(String.raw`[^\P{L}${unspaced}]$`, "u");
const unitBehind = new RegExp(
  String.raw`^([^\P{L}${unspaced}]+)(?!\d)|^(?:[mx]|[kcmd]m|ft)(?=\^?\d)|^[${unspaced}]`,
  "u",
);
const lexeme = new RegExp(
  String.raw`(?:m|km|cm|mm|dm|ft)\^?[23](?![\p{L}\d])|[${unspaced}]|\p{L}+|[%€$£¥${gap}]|-?\d`,
  "gu",
);
const year = String.raw`(?:(?:,? |[-/])?(?:de |del |of )?(?<year>\d{4})(?!\d))?`;
const zone = String.raw`(?: ?(?<utc>z|utc|gmt)\b(?![+-]\d)| ?(?:utc|gmt)?(?<zone>[+-]\d\d(?::?\d\d)?)(?!\d))?`;
/** Where a digit is. */
const numeric = new RegExp(
  [
    String.raw`(?<y>\d{4})(?:(?<s1>[-/.])(?<m>\d\d?)\k<s1>(?<d>\d\d?)(?!\d)t?| ?[年년] ?(?<mh>\d\d?) ?[月월](?: ?(?<dh>\d\d?) ?[日号號일])?)`,
    String.raw`(?<a>\d{1,2})(?<s2>[./-]) ?(?<b>\d{1,2})\k<s2> ?(?<c>\d{4}|\d\d)(?![.]?\d)`,
    String.raw`(?<day>\d{1,2})(?:st|nd|rd|th|o|er|\.)?[ /-]?(?:de |of )?(?<month>${monthPattern})\b\.?${year}`,
    String.raw`(?<y2>(?:19|20)\d\d)-(?<m2>0[1-9]|1[0-2])(?![-\d])`,
    String.raw`(?<hour>\d{1,2}):(?<minute>\d\d)(?::(?<second>\d\d)(?:[.,]\d+)?)?(?!\d)${zone}(?: ?(?<half>[ap])\.?m\b\.?)?`,
    String.raw`(?<hour2>\d{1,2}) ?(?<half2>[ap])\.?m\b\.?`,
    String.raw`(?<mantissa>\d+(?:[.,]\d+)?)(?:e(?<exponent>[+-]?\d{1,3})| ?[x*·] ?10\^(?<power>-?\d{1,3}))(?![\p{L}\d])`,
    String.raw`(?<![\d/.,:])(?:(?<units>\d{1,4})[ -])?(?<top>\d{1,2})[/⁄](?<low>[1-9]\d?)(?![\d/⁄]|[.,]\d)`,
    String.raw`(?<number>\d+(?:[.,'’]\d+)*)`,
  ].join("|"),
  "uy",
);
/** Where the name of a month is. */
const named = new RegExp(
  String.raw`(?:${monthPattern})\b\.?(?: (?<day>\d{1,2})(?:st|nd|rd|th)?(?!\d)${year}|,? (?:de |del |of )?(?<only>\d{4})(?!\d))`,
  "uy",
);

/** The tokens of a text. Words that a line's end cuts at a hyphen are whole. */
export function tokensOf(text: string, numbers: ReadonlyMap<string, number>): readonly Token[] {
  const tokens: Token[] = [];
  let carried: { readonly word: string; readonly line: number } | undefined;
  for (const [at, raw] of text.split(/\r\n|\r|\n/).entries()) {
    if (raw === "") continue;
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
  if (line.split(",", 3).length < 3) return line;
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
  lexeme.lastIndex = 0;
  for (let match = lexeme.exec(line); match !== null; match = lexeme.exec(line)) {
    const [word] = match;
    const { index: from } = match;
    const month = months.get(word);
    const isDigit = /^-?\d/.test(word);
    const number = isDigit ? numberAt(line, from) : month === undefined ? undefined : dateAt(line, from);
    if (number !== undefined) {
      pieces.push({ ...number, line: at, from });
      lexeme.lastIndex = number.to;
      continue;
    }
    const to = from + word.length;
    const last = pieces.at(-1);
    const factor = multipliers.get(word) ?? (last?.to === from ? gluedMultipliers.get(word) : undefined);
    if (factor !== undefined && last !== undefined && isNumber(last) && from - last.to < 2) {
      const products = last.forms.map((form) => times(form, factor));
      pieces[pieces.length - 1] = { ...last, isFree: true, forms: products, sole: [...last.sole, ...last.forms], to };
    }
    // That of a version says nothing.
    else if (word !== "v" || !/\d/.test(line[to] ?? "")) {
      const sole = month === undefined ? (ordinals.get(word) ?? []) : [`n${month}`];
      pieces.push({ ...wordToken(word.replace("^", ""), at), sole, from, to });
    }
  }
  return withUnits(withNumerals(pieces, line, numbers), line);
}

type Number = Omit<Piece, "line" | "from">;
const two = (digits: string | undefined): string => (digits ?? "").padStart(2, "0");
const full = (digits: string): string => (digits.length === 2 ? `20${digits}` : digits);
const token = (to: number, forms: readonly string[], sole: readonly string[] = []): Number => ({
  word: "#",
  forms,
  sole,
  isFree: true,
  to,
});

type Day = readonly [year: string | undefined, month: string | undefined, day: string | undefined];

/** A date. One of which the country decides what its month is may be either of two. */
function dated(days: readonly Day[], raw: string, to: number): Number | undefined {
  const valid = days.filter(
    ([, month, day]) => [month, day].every((each) => Number(each) > 0) && Number(month) < 13 && Number(day) < 32,
  );
  const own = valid.map(([y, month, day]) => `d${y ?? "-"}-${two(month)}-${two(day)}`);
  const partial = valid.flatMap(([y, month, day]) => [
    `n${Number(month)}`,
    ...(y === undefined ? [] : [y, `m${y}-${two(month)}`, `d--${two(month)}-${two(day)}`]),
  ]);
  if (new Set(own).size > 1) return token(to, [`a${raw.split(/\D+/).map(two).join("-")}`], [...own, ...partial]);
  return token(to, [...own.slice(0, 1), ...canonical(raw)], partial);
}

function dateAt(line: string, from: number): Number | undefined {
  named.lastIndex = from;
  const { 0: text = "", groups: { day, year: after, only } = {} } = named.exec(line) ?? {};
  const month = String(months.get(/^\p{L}+/u.exec(text)?.[0] ?? ""));
  if (only !== undefined) return token(from + text.length, [`m${only}-${two(month)}`], [only, `n${month}`]);
  return day === undefined ? undefined : dated([[after, month, day]], text, from + text.length);
}

function numberAt(line: string, at: number): Number {
  const from = line[at] === "-" ? at + 1 : at;
  numeric.lastIndex = from;
  const match = numeric.exec(line);
  const { 0: text = "", groups: found = {} } = match ?? {};
  const to = from + text.length;
  if (found["number"] !== undefined) return plainNumberAt(line, at, to);
  const { y, a, b, c, day, month, y2, m2, hour, mantissa, units: whole, top, low } = found;
  if (y !== undefined) {
    const [mm, dd] = [found["m"] ?? found["mh"], found["d"] ?? found["dh"]];
    if (dd === undefined) return token(to, [`m${y}-${two(mm)}`], [y, `n${Number(mm)}`]);
    return dated([[y, mm, dd]], `${y}-${mm}-${dd}`, to) as Number;
  }
  if (c !== undefined) {
    const days: Day[] = [[full(c), b, a]];
    // With full stops the day comes first.
    return dated(found["s2"] === "." && Number(b) < 13 ? days : [...days, [full(c), a, b]], text, to) as Number;
  }
  if (month !== undefined) return dated([[found["year"], String(months.get(month)), day]], text, to) as Number;
  if (y2 !== undefined) return token(to, [`m${y2}-${m2}`], [y2, `n${Number(m2)}`]);
  const hours = hour ?? found["hour2"];
  if (hours !== undefined) return { ...token(to, []), ...timeForms(hours, found) };
  const sign = line[at] === "-" && !/[\p{L}\d)\]]$/u.test(line.slice(Math.max(0, at - 1), at)) ? "-" : "";
  if (mantissa !== undefined) {
    const factor = 10 ** Number(found["exponent"] ?? found["power"]);
    return token(
      to,
      [...canonical(mantissa)].map((form) => `${sign}${times(form, factor)}`),
    );
  }
  const part = Number(top) / Number(low);
  const value = Number(whole ?? 0) + part;
  const rounded = [value.toFixed(2), value.toFixed(3)].map((each) => String(Number(each)));
  const forms = whole === undefined && text.includes("/") ? [`q${text}`] : [`${sign}${times(String(value), 1)}`];
  return token(to, forms, [times(String(value), 1), ...rounded, ...(whole === undefined ? [] : [whole])]);
}

function plainNumberAt(line: string, at: number, to: number): Number {
  const digits = line.slice(at, to).replaceAll(/['’]/g, "");
  // Lines may be long.
  const [before, rest] = [line.slice(Math.max(0, at - 5), at), line.slice(to, to + 40)];
  const isSigned = digits.startsWith("-") && !/[\p{L}\d)\]]$/u.test(before);
  const own = digits.startsWith("-") && !isSigned ? digits.slice(1) : digits;
  const isFactor = /\dx$/.test(before);
  const isGlued = !isFactor && letterBefore.test(before) && !/(?:^|[^\p{L}])v$/u.test(before);
  const [hh, mm] = own.split(".");
  const isTime = /^\d{1,2}\.\d\d$/.test(own) && Number(hh) < 24 && Number(mm) < 60;
  const behind = unitBehind.exec(rest);
  const isUnit =
    behind === null
      ? !/^\p{L}/u.test(rest)
      : behind[1] === undefined || units.has(behind[1]) || /^(?:st|nd|rd|th|er|e|o|x|k|b)$/.test(behind[1]);
  const isCode = isGlued || /[\p{L}_][-_]$/u.test(before) || (own !== digits && /\p{L}$/u.test(before)) || !isUnit;
  // Of 120/80 each is a number.
  const isRatio = /(?<!\d)\d{3}\/$/.test(before) || /^\/\d{3}(?!\d)/.test(rest);
  const isPart = own.length < 3 && !isRatio && (/\d[/:]$/.test(before) || /^[/:]\d/.test(rest));
  const hasCents = /[.,]\d\d$/.test(own);
  const isNegative =
    /-[€$£] ?$/.test(before) ||
    (hasCents && ((/\([€$£]? ?$/.test(before) && rest.startsWith(")")) || /^-(?![\p{L}\d])/u.test(rest)));
  const [, y, m, d] = /^((?:19|20)\d\d)(\d\d)(\d\d)$/.exec(own) ?? [];
  return {
    // The digits of an identifier are no amount: v1.20 is not v1.2.
    ...token(
      to,
      isGlued ? [`r${own}`] : [...canonical(own), ...((own.match(/[.,]/g) ?? []).length > 1 ? [`r${own}`] : [])],
    ),
    sole: [
      ...(isTime ? [`t${two(hh)}:${mm ?? ""}`] : []),
      ...(isNegative ? canonical(own).map((form) => `-${form}`) : []),
      ...(Number(m) > 0 && Number(m) < 13 && Number(d) > 0 && Number(d) < 32 ? [`d${y}-${m}-${d}`] : []),
    ],
    isFree: !(isCode && own.length < 4) && !isPart,
  };
}

/** One with an offset may stand for one without, but for no other offset. */
function timeForms(
  hours: string,
  { minute = "00", second, half, half2, utc, zone: given }: Readonly<Record<string, string>>,
) {
  const offset = (utc === undefined ? given : "+00:00")?.replace(/^[+-]00(?::?00)?$/, "+0000").replace(":", "");
  const afternoon = half ?? half2;
  const hour = afternoon === undefined ? Number(hours) : (Number(hours) % 12) + (afternoon === "p" ? 12 : 0);
  const short = `t${two(String(hour))}:${minute}`;
  const all = [...(second === undefined ? [] : [`${short}:${second}`]), short];
  const [own = short] = all;
  return offset === undefined ? { forms: [own], sole: all.slice(1) } : { forms: [`${own}${offset}`], sole: all };
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
        const space = line.slice((pieces[next - 1] as Piece).to, between.from);
        if (!/^[ -]$/.test(space)) break;
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
  if (behind.word === "%" || units.get(behind.word) === "%") return [times(own, 0.01)];
  // Metres or millions.
  if (behind.word === "m" && behind.from === piece.to) return canonical(raw).map((form) => times(form, 1_000_000));
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
