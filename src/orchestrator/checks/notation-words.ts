import table from "./notation-words.json" with { type: "json" };

/** Months, units and number words of the five languages that answers are checked in. Without accents, in lower case. */

const monthStarts = table.months.map((names) => names.split(" "));
export const months = new Map(monthStarts.flatMap((names, at) => names.map((name) => [name, at + 1] as const)));
export const monthPattern = [...months.keys()].toSorted((a, b) => b.length - a.length).join("|");

export const currencies = new Set("€ $ £ ¥ chf pln sek nok dkk czk huf inr cad aud nzd brl mxn cny".split(" "));
/** The first name of a unit stands for all; the last line has units of one name each. */
export const units = new Map(
  table.units.flatMap((names, at) => {
    const [first = "", ...others] = names.split(" ");
    const isOne = at < table.units.length - 1;
    return [first, ...others].map((name): [string, string] => [name, isOne ? first : name]);
  }),
);

/** Number words of each language, by their value. Tens and units are put together by `numberOfWords`. */
export const numerals: Readonly<Record<string, string>> = table.numerals;
/** Also articles: they count as 1 beside a word only. */
export const articles = new Set("a un une una ein eine einen einem einer uno".split(" "));
const hundredsOfSpanish = new Map(
  "doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos novecientos"
    .split(" ")
    .flatMap((word, at): [string, number][] => [
      [word, (at + 2) * 100],
      [word.replace("os", "as").replace(/os$/, "as"), (at + 2) * 100],
    ]),
);
/** Word → number of one language, with what German, Spanish and Italian write as one word. */
export function numbersIn(language: string): ReadonlyMap<string, number> {
  const [small = "", tens = "", hundred = "", thousand = "", million = ""] = (numerals[language] ?? "").split("|");
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

/** Few words that only one of the languages has, or that it has most often. */
export const common: Readonly<Record<string, string>> = {
  en: "the of and to is for by with",
  de: "der die das und ist fur den mit nicht",
  fr: "le les des et est une du pour au",
  es: "el los las y una del por con es",
  it: "il di che per una del gli della e non",
};

/** What a word makes of the digits before it. */
export const multipliers = new Map<string, number>(
  [
    ["thousand tausend tsd mil mila mille", 1_000] as const,
    ["million millions millionen millones millon milione milioni mio mln", 1_000_000] as const,
    ["billion billions bn mrd milliarde milliarden milliard milliards md mds miliardi", 1_000_000_000] as const,
    ["万 萬 만", 10_000] as const,
    ["億 亿 억", 100_000_000] as const,
  ].flatMap(([words, times]) => words.split(" ").map((word): [string, number] => [word, times])),
);
export const gluedMultipliers = new Map([
  ["k", 1_000],
  ["b", 1_000_000_000],
]);

/** Ordinals from the third, as `first` and `second` are other words, too; Roman numerals, but `vi` and `xi`, which are words. */
export const ordinals = new Map(
  [
    "iii third dritte dritten dritter drittes troisieme tercero tercera terzo terza",
    "iv fourth vierte vierten vierter viertes quatrieme cuarto cuarta quarto quarta",
    "fifth funfte funften funfter funftes cinquieme quinto quinta",
    "sixth sechste sechsten sechster sechstes sixieme sexto sexta sesto sesta",
    "vii seventh siebte siebten siebter siebtes septieme septimo septima settimo settima",
    "viii eighth achte achten achter achtes huitieme octavo octava ottavo ottava",
    "ix ninth neunte neunten neunter neuntes neuvieme noveno novena nono nona",
    "tenth zehnte zehnten zehnter zehntes dixieme decimo decima",
    "eleventh elfte elften elfter elftes onzieme",
    "xii twelfth zwolfte zwolften zwolfter zwolftes douzieme",
    ..."xiii xiv xv xvi xvii xviii xix xx xxi".split(" "),
  ].flatMap((words, at) => words.split(" ").map((word): [string, readonly string[]] => [word, [String(at + 3)]])),
);
