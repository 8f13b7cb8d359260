import table from "./notation-words.json" with { type: "json" };

/** Months, units and number words of the five languages that answers are checked in. Without accents, in lower case. */

/** Number words of each language, by their value. Tens and units are put together by `numbersIn`. */
const { numerals } = table;

const monthStarts = table.months.map((names) => names.split(" "));
export const months = new Map(monthStarts.flatMap((names, at) => names.map((name) => [name, at + 1] as const)));

/** The first name of a unit stands for all; the last line has units of one name each. */
export const units = new Map(
  table.units.flatMap((names, at) => {
    const [first = "", ...others] = names.split(" ");
    const isOne = at < table.units.length - 1;
    return [first, ...others].map((name): [string, string] => [name, isOne ? first : name]);
  }),
);

/** Also articles: they count as 1 beside a word only. */
export const articles = new Set(table.articles.split(" "));
const hundredsOfSpanish = table.hundredsOfSpanish.split(" ").flatMap((word, at): [string, number][] => [
  [word, (at + 2) * 100],
  [word.replace("os", "as").replace(/os$/, "as"), (at + 2) * 100],
]);
/** Word → number of one language, with what German, Spanish and Italian write as one word. */
export function numbersIn(language: keyof typeof numerals): ReadonlyMap<string, number> {
  const [small = "", tens = "", hundred = "", thousand = "", million = ""] = numerals[language].split("|");
  const [ones, tensOf] = [small.split(" "), tens.split(" ")];
  const found = new Map<string, number>(language === "es" ? hundredsOfSpanish : []);
  for (const [at, word] of ones.entries()) found.set(word, at);
  for (const [at, word] of tensOf.entries()) {
    const ten = (at + 2) * 10;
    found.set(word, ten);
    for (const [unit, name] of ones.slice(0, 10).entries()) {
      if (unit === 0) continue;
      if (language === "de") found.set(`${unit === 1 ? "ein" : name}und${word}`, ten + unit);
      if (language === "es" && ten === 20) found.set(`veinti${name}`, ten + unit);
      if (language === "it") found.set((/^[uo]/.test(name) ? word.slice(0, -1) : word) + name, ten + unit);
    }
  }
  for (const [words, value] of [
    [hundred, 100],
    [thousand, 1_000],
    [million, 1_000_000],
  ] as const) {
    for (const word of words.split(" ")) {
      found.set(word, value);
      if (language !== "de" && language !== "it") continue;
      for (let unit = 2; unit < 10; unit += 1) found.set(`${ones[unit] ?? ""}${word}`, value * unit);
    }
  }
  if (language === "fr") found.set("vingts", 20);
  found.delete("-");
  return found;
}

/** Ordinals from the third, as `first` and `second` are other words, too; Roman numerals, but `vi` and `xi`, which are words. */
export const ordinals = new Map(
  table.ordinals.flatMap((words, at) =>
    words.split(" ").map((word): [string, readonly string[]] => [word, [`${at + 3}`]]),
  ),
);
