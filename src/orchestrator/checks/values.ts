/** Numbers and dates of texts in their usual notations. Pure. */
import { months } from "./notation-words.ts";

export const hasNumber = (word: string): boolean => /\p{Nd}/u.test(word);

/** Number words count as numbers. */
const numberWords = "zero one two three four five six seven eight nine ten eleven twelve".split(" ");

/** What a folded word may mean as a number. */
export function numbersOf(word: string): readonly string[] {
  const at = numberWords.indexOf(word);
  if (at >= 0) return [String(at)];
  if (!hasNumber(word) || word.length > 40) return [];
  const [, amount = word] = /^(-?[\d.,]+)[^\d.,]{1,3}$/.exec(word) ?? [];
  return canonical(amount);
}

/** `1,234.50` and `1.234,50` are 1234.5; `1.234` may be either. */
export function canonical(word: string): readonly string[] {
  if (word.length > 40 || !/^-?\d[\d.,]*$/.test(word)) return [word];
  const mark = Math.max(word.lastIndexOf("."), word.lastIndexOf(","));
  const whole = (digits: string): string => digits.replace(/^(-?)0+(?=\d)/, "$1");
  if (mark < 0) return [whole(word)];
  const [head, tail] = [word.slice(0, mark).replaceAll(/[.,]/g, ""), word.slice(mark + 1)];
  const marks = word.replaceAll(/[^.,]/g, "");
  const thousands = whole(head + tail);
  const decimal = `${whole(head)}.${tail}`.replace(/\.?0+$/, "");
  if (new Set(marks).size === 2) return [decimal];
  // Versions and dates have several equal marks, with other lengths.
  if (marks.length > 1) return tail.length === 3 ? [thousands, word] : [word];
  if (tail === "000") return [thousands];
  return tail.length === 3 ? [thousands, decimal] : [decimal];
}

/** Without an exponent, as texts write it. */
export function plainNumber(value: number): string {
  const text = String(value);
  return text.includes("e") ? value.toLocaleString("en-US", { useGrouping: false, maximumFractionDigits: 20 }) : text;
}
export const times = (form: string, factor: number): string =>
  plainNumber(Number((Number(form) * factor).toPrecision(12)));

const letters: Readonly<Record<string, string>> = { ø: "o", œ: "oe", æ: "ae", ł: "l", đ: "d", ı: "i" };

/** Equal for texts that differ in case, accents, typography or Unicode form. */
export function plain(text: string): string {
  const folded = /^[\0-\x7f]*$/.test(text)
    ? text.toLowerCase()
    : text
        // 10² is not 102, and 2½ not 21/2.
        .replaceAll(/(?<=\d)[⁰¹²³⁴-⁹⁺⁻]+/g, "^$&")
        .replaceAll(/(?<=\d)[¼-¾⅐-⅞]/g, " $&")
        .normalize("NFKC")
        .replaceAll(/\p{Default_Ignorable_Code_Point}/gu, "")
        .toUpperCase()
        .toLowerCase()
        .normalize("NFD")
        .replaceAll(/\p{M}/gu, "")
        .normalize("NFC")
        .replaceAll(/[øœæłđı]/g, (letter) => letters[letter] ?? letter)
        .replaceAll(/[\u2010-\u2015\u2212]/g, "-")
        .replaceAll(/(?<=\d ?)×(?= ?\d)/g, "x");
  return folded
    .replaceAll(/(?<![\p{L}\d.,])\.(?=\d)/gu, "0.")
    .replaceAll(/per cent\b|pour cent\b|per cento\b|por ciento\b/g, "%");
}

const between = "[ ./()-]{0,3}";
const grouped = (code: string): string => Array.from(code).join(between);
const country = "(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|\\d{3})";

/** Finds a code however it is grouped, and a telephone number with its country or without: its place, or -1. */
export function codeFinder(shown: string): ((text: string) => number) | undefined {
  const code = shown.replaceAll(/[^\p{L}\p{N}]/gu, "");
  if (code.length < 6 || code.length > 40 || (code.match(/\d/g) ?? []).length < 4 || /\d[.,]\d/.test(shown))
    return undefined;
  const digits = shown.replace(/\(0\)/, "").replaceAll(/[ ./()-]/g, "");
  const [prefix = "", own] = new RegExp(`^(?:\\+|00)(${country})`).exec(digits) ?? [];
  const national = own === undefined ? digits.replace(/^0/, "") : digits.slice(prefix.length);
  const abroad = `(?:\\+|(?<!\\d)00)${own === undefined ? country : grouped(own)}${between}(?:\\(0\\))?${between}$`;
  const isPhone = /^\d{7,14}$/.test(national);
  const ways = [
    { core: code, before: /(?<![\p{L}\p{N}])$/u },
    ...(isPhone ? [{ core: national, before: new RegExp(abroad) }] : []),
    ...(isPhone && own !== undefined
      ? [{ core: national, before: new RegExp(`(?<![+\\d]${between})0?${between}$`) }]
      : []),
  ].map(({ core, before }) => ({ before, pattern: new RegExp(grouped(core), /\D/.test(core) ? "giu" : "g") }));
  // What stands before is looked at after: a pattern that begins with its characters is quick.
  return (text) => {
    for (const { pattern, before } of ways) {
      for (const { 0: found, index } of text.matchAll(pattern)) {
        const end = index + found.length;
        const isWhole = !/^[\p{L}\p{N}]/u.test(text.slice(end, end + 2));
        if (isWhole && before.test(text.slice(Math.max(0, index - 24), index))) return index;
      }
    }
    return -1;
  };
}

const spelled: Readonly<Record<string, string>> = { ä: "ae", ö: "oe", ø: "oe", ü: "ue", å: "aa" };
export const spelledOut = (text: string): string =>
  text.normalize("NFC").replaceAll(/[äöüøå]/gi, (letter) => spelled[letter.toLowerCase()] ?? letter);

const likeDigits: Readonly<Record<string, string>> = { O: "0", o: "0", l: "1", I: "1", i: "1", S: "5", B: "8", Z: "2" };
const likeLetters: readonly Readonly<Record<string, string>>[] = [
  { "0": "o", "1": "i", "5": "s", "8": "b", "3": "e" },
  { "0": "o", "1": "l", "5": "s", "8": "b", "3": "e" },
];

/** The text as it reads where a scan took letters for digits, or digits for letters; none for one without such words. */
export function scannedForms(text: string): readonly string[] {
  const replaced = (pattern: RegExp, like: Readonly<Record<string, string>>) =>
    text.replaceAll(pattern, (word) => word.replaceAll(/./gu, (each) => like[each] ?? each));
  const [digits, words] = [
    /(?<![\p{L}\p{N}])(?=[\dOolIiSBZ])(?=\S{0,20}\d\S{0,20}\d|[OolISB]\d{2})[\dOolIiSBZ][\dOolIiSBZ.,:/-]{0,20}[\dOolIiSB](?![\p{L}\p{N}])/gu,
    /(?<!\p{L})(?:\p{L}{1,30}(?:[01358]{1,3}\p{L}{1,30}){1,5}|\p{L}{3,30}[01358]|[01358]\p{L}{3,30})/gu,
  ];
  const [inDigits, inWords] = [replaced(digits, likeDigits), likeLetters.map((like) => replaced(words, like))];
  return [...new Set([inDigits, ...inWords])].filter((each) => each !== text);
}

/**
 * The dates among words, as month and day: the day is beside the name of the month, or the date is written in numbers.
 * `parts` are words that are no numbers because they belong to one, `years` those of dates that are one word.
 */
export function datesOf(words: readonly string[]) {
  const [dates, parts, years]: [string[], Set<number>, string[]] = [[], new Set(), []];
  const add = (month: number, day: number, ...used: readonly number[]): void => {
    if (!(month >= 1 && month <= 12 && day >= 1 && day <= 31)) return;
    dates.push(`${month} ${day}`);
    for (const each of used) parts.add(each);
  };
  for (const [at, word] of words.entries()) {
    const month = months.get(word);
    const before = words[at - 1] === "de" || words[at - 1] === "of" ? at - 2 : at - 1;
    for (const beside of month === undefined ? [] : [before, at + 1]) {
      const [day] = /^\d{1,2}(?=(?:st|nd|rd|th|er|ten|o|º)?$)/.exec(words[beside] ?? "") ?? [];
      add(month ?? 0, Number(day ?? 0), beside);
    }
    if (/^[12]\d{3}$/.test(word)) add(Number(words[at + 1]), Number(words[at + 2]), at + 1, at + 2);
    const [, one, other, year] = /^(\d{1,2})[./](\d{1,2})[./](\d{4}|\d\d)?$/.exec(word) ?? [];
    const [day, number] = [Number(one), Number(other)];
    // Which of them is the month depends on the country.
    add(number, day, at);
    if (day !== number) add(day, number, at);
    if (year !== undefined && parts.has(at)) years.push(year);
  }
  return { dates, parts, years };
}
