/** Numbers, dates and words in their usual notations: what a value is compared by. Pure. */
import { wordsOf } from "./quote-search.ts";

/** Number words count as numbers. */
export const numberWords = "zero one two three four five six seven eight nine ten eleven twelve".split(" ");

const months = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October"];
export const monthNames: readonly string[] = [...months, "November", "December"];

export const hasNumber = (word: string): boolean => /\p{Nd}/u.test(word);

export function numbersOf(text: string): ReadonlySet<string> {
  const numbers = new Set<string>();
  for (const word of wordsOf(text)) {
    const at = numberWords.indexOf(word);
    if (at >= 0) numbers.add(String(at));
    const month = monthOf(word);
    if (month > 0) numbers.add(String(month));
    if (!hasNumber(word)) continue;
    for (const form of canonical(word)) numbers.add(form);
    // Dates are compared part by part, because their order differs.
    if (/^\d{1,4}([./])\d{1,2}\1(?:\d{1,4})?$/.test(word))
      for (const part of word.split(/[./]/)) numbers.add(bare(part));
    const [, amount] = /^(-?[\d.,]+)[^\d.,]{1,3}$/.exec(word) ?? [];
    if (amount !== undefined) for (const form of canonical(amount)) numbers.add(form);
  }
  return numbers;
}

export function isIn(word: string, words: ReadonlySet<string>, numbers: ReadonlySet<string>): boolean {
  if (words.has(word) || numbers.has(String(numberWords.indexOf(word)))) return true;
  if (!hasNumber(word)) return false;
  const [, amount = word, unit = ""] = /^(-?[\d.,]+)([^\d.,]{1,3})$/.exec(word) ?? [];
  const isOrdinal = ["st", "nd", "rd", "th"].includes(unit);
  if (unit !== "" && !isOrdinal && !words.has(unit)) return false;
  return canonical(amount).some((form) => numbers.has(form));
}

/** Month and day of each date: the day is beside the name of the month, or the date is written in numbers. */
export function datesOf(words: readonly string[]): readonly string[] {
  const dates: string[] = [];
  for (const [at, word] of words.entries()) {
    const month = monthOf(word);
    const beside = month === 0 ? [] : [words[at - 1] ?? "", words[at + 1] ?? ""];
    for (const each of beside) {
      const day = /^\d{1,2}(?:st|nd|rd|th)?$/.test(each) ? Number.parseInt(each, 10) : 0;
      if (day > 0 && day <= 31) dates.push(`${month} ${day}`);
    }
    const next = words.slice(at, at + 3).map(Number);
    const [year = 0, second = 0, third = 0] = next;
    if (/^\d{4}$/.test(word) && isDate(second, third) && year > 1_000) dates.push(`${second} ${third}`);
    const [, one, other] = /^(\d{1,2})[./](\d{1,2})[./](?:\d{4}|\d\d)?$/.exec(word) ?? [];
    const [day, number] = [Number(one), Number(other)];
    // Which of them is the month depends on the country.
    if (isDate(number, day)) dates.push(`${number} ${day}`);
    if (isDate(day, number) && day !== number) dates.push(`${day} ${number}`);
  }
  return dates;
}

const isDate = (month: number, day: number): boolean => month >= 1 && month <= 12 && day >= 1 && day <= 31;

/** 0 for a word that is no month. */
export function monthOf(word: string): number {
  return 1 + monthNames.findIndex((name) => name.toLowerCase() === word || name.slice(0, 3).toLowerCase() === word);
}

/** `1,234.50` and `1.234,50` are 1234.5; `1.234` may be either. */
function canonical(word: string): readonly string[] {
  if (word.length > 40 || !/^-?\d[\d.,]*$/.test(word)) return [word];
  const mark = Math.max(word.lastIndexOf("."), word.lastIndexOf(","));
  if (mark < 0) return [bare(word)];
  const [head, tail] = [word.slice(0, mark).replaceAll(/[.,]/g, ""), word.slice(mark + 1)];
  const kinds = new Set(word.replaceAll(/[^.,]/g, ""));
  const marks = word.replaceAll(/[^.,]/g, "").length;
  const thousands = bare(head + tail);
  const decimal = `${bare(head)}.${tail}`.replace(/\.?0+$/, "");
  if (kinds.size === 2) return [decimal];
  // Versions and dates have several equal marks, with other lengths.
  if (marks > 1) return tail.length === 3 ? [thousands, word] : [word];
  return tail.length === 3 ? [thousands, decimal] : [decimal];
}

function bare(digits: string): string {
  return digits.replace(/^(-?)0+(?=\d)/, "$1");
}

export function isMonthIn(word: string, numbers: ReadonlySet<string>): boolean {
  const month = monthOf(word);
  return month > 0 && numbers.has(String(month));
}

/** How files may write a value of a JSON answer. */
export function formsOf(value: string): readonly string[] {
  const [, year, month, day] = /^(\d{4})-(\d\d)-(\d\d)$/.exec(value) ?? [];
  if (year !== undefined && month !== undefined && day !== undefined) return dateForms(year, month, day);
  const number = /^-?\d{1,15}(?:\.\d{1,6})?$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isFinite(number)) return [value];
  const decimals = [undefined, 1, 2].map((digits) => {
    const exact = { minimumFractionDigits: digits ?? 0, maximumFractionDigits: digits ?? 6 };
    return new Intl.NumberFormat("en-US", exact).format(number);
  });
  const same = decimals.filter((text) => Number(text.replaceAll(",", "")) === number);
  const swapped = same.map((text) => text.replaceAll(/[.,]/g, (mark) => (mark === "," ? "." : ",")));
  return [...new Set([value, ...same, ...same.map((text) => text.replaceAll(",", "")), ...swapped])];
}

function dateForms(year: string, month: string, day: string): readonly string[] {
  const [name, d, m] = [monthNames[Number(month) - 1] ?? "", String(Number(day)), String(Number(month))];
  const named = [name, name.slice(0, 3)].flatMap((each) => [
    `${d} ${each} ${year}`,
    `${each} ${d} ${year}`,
    `${d}. ${each} ${year}`,
  ]);
  const slashed = [`${day}.${month}.${year}`, `${d}.${m}.${year}`, `${day}/${month}/${year}`, `${d}/${m}/${year}`];
  return [
    `${year}-${month}-${day}`,
    ...named,
    ...slashed,
    `${month}/${day}/${year}`,
    `${m}/${d}/${year}`,
    `${year}/${month}/${day}`,
  ];
}
