/** Numbers and dates of texts in their usual notations. Pure. */

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
  if (mark < 0) return [bare(word)];
  const [head, tail] = [word.slice(0, mark).replaceAll(/[.,]/g, ""), word.slice(mark + 1)];
  const kinds = new Set(word.replaceAll(/[^.,]/g, ""));
  const marks = word.replaceAll(/[^.,]/g, "").length;
  const thousands = bare(head + tail);
  const decimal = `${bare(head)}.${tail}`.replace(/\.?0+$/, "");
  if (kinds.size === 2) return [decimal];
  // Versions and dates have several equal marks, with other lengths.
  if (marks > 1) return tail.length === 3 ? [thousands, word] : [word];
  if (tail === "000") return [thousands];
  return tail.length === 3 ? [thousands, decimal] : [decimal];
}

function bare(digits: string): string {
  return digits.replace(/^(-?)0+(?=\d)/, "$1");
}

/** English, German, French, Spanish, Italian. */
const months = [
  "january jan januar janvier enero gennaio",
  "february feb februar février febrero febbraio",
  "march mar märz mars marzo",
  "april apr avril abril aprile",
  "may mai mayo maggio",
  "june jun juni juin junio giugno",
  "july jul juli juillet julio luglio",
  "august aug août agosto",
  "september sep sept septembre septiembre settembre",
  "october oct oktober octobre octubre ottobre",
  "november nov novembre noviembre",
  "december dec dezember décembre diciembre dicembre",
].map((names) => names.split(" "));
export const monthNumbers = new Map(months.flatMap((names, at) => names.map((name) => [name, at + 1] as const)));

/** The dates among words, and which words are no numbers because they belong to one. */
interface Dates {
  /** Month and day: the day is beside the name of the month, or the date is written in numbers. */
  readonly dates: readonly string[];
  readonly parts: ReadonlySet<number>;
  /** Those of dates that are one word. */
  readonly years: readonly string[];
}

export function datesOf(words: readonly string[]): Dates {
  const [dates, parts, years]: [string[], Set<number>, string[]] = [[], new Set(), []];
  const add = (month: number, day: number, ...used: readonly number[]): void => {
    if (!(month >= 1 && month <= 12 && day >= 1 && day <= 31)) return;
    dates.push(`${month} ${day}`);
    for (const each of used) parts.add(each);
  };
  for (const [at, word] of words.entries()) {
    const month = monthNumbers.get(word);
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
