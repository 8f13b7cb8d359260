const word = /[\p{L}\p{M}\p{N}]+/gu;
/** Scripts without spaces between words. */
const unspaced = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}]/u;
const unspacedRun =
  /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}ー々]+|[^\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}ー々]+/gu;
const hump = /(?<=[\p{Ll}\p{N}])(?=\p{Lu})/u;
/** Longer runs of letters, such as base64, are cut. */
const maxWordLength = 64;

/**
 * Folds compatibility forms, case and Latin accents (`Ｃａｆé` → `cafe`). Other scripts keep their marks, which are letters
 * there.
 */
export function fold(text: string): string {
  // oxlint-disable-next-line no-control-regex -- the fast path: ASCII needs no more.
  if (/^[\x00-\x7f]*$/.test(text)) return text.toLowerCase();
  return text
    .normalize("NFKD")
    .replaceAll(/[\u0300-\u036f]/g, "")
    .normalize("NFC")
    .toLowerCase();
}

/**
 * The folded words of a text, in order. The parts of `camelCase` are added to the whole word. Text without spaces between
 * words becomes letters and pairs of letters, as in Lucene's CJK analysis; a query needs only the pairs.
 */
export function wordsOf(text: string, side: "stored" | "asked" = "stored"): string[] {
  const words: string[] = [];
  for (const [found] of text.normalize("NFKC").matchAll(word)) {
    if (unspaced.test(found)) {
      for (const [run] of found.matchAll(unspacedRun)) {
        if (unspaced.test(run)) words.push(...pairs(run, side));
        else words.push(fold(run).slice(0, maxWordLength));
      }
      continue;
    }
    words.push(fold(found).slice(0, maxWordLength));
    const humps = found.length <= maxWordLength && side === "stored" ? found.split(hump) : [];
    if (humps.length > 1) words.push(...humps.map(fold));
  }
  // An accent without a letter leaves an empty word.
  return words.filter((each) => each !== "");
}

function pairs(run: string, side: "stored" | "asked"): string[] {
  const letters = Array.from(run);
  const both = letters.slice(1).map((letter, index) => `${letters[index] ?? ""}${letter}`);
  return side === "stored" || letters.length === 1 ? [...letters, ...both] : both;
}

/** The most common words of prompts in a few languages, which don't make a note relevant. */
const commonWords = new Set(
  (
    "a an and any are as at be been but by can could did do does for from get give had has have he her here him his how i if in " +
    "into is it its just let like make may me more most much my need new no not now of on one only or other our out over " +
    "please put she should show so some such tell than that the their them then there these they this those to too two up " +
    "use used using very want was way we were what when where which while who why will with would write you your about after " +
    "all also always because before being between both each explain few first find good great help know last line long look " +
    "many must never next often old part people same say see set short since still take thing things think through time " +
    "try under until user well work works " +
    "der die das den dem des ein eine einen einem einer und oder aber ist sind war mit von zu zum zur im in auf für fur nicht " +
    "ich du er sie es wir ihr mein meine dein wie was wer wo wann warum bitte kann kannst mir mich dir dich auch noch nur " +
    "le la les un une des et ou est sont dans pour par sur avec que qui quoi ce cette ces je tu il elle nous vous mon ma mes " +
    "ne pas plus au aux du de el los las una unos y o es son en con por para como mi tu su lo se que del al " +
    "non il gli di da per che e sono nel della um uma os as no na do da dos das com não nao"
  ).split(" "),
);

/** Whether a folded word is too common to be distinctive. */
export function isCommon(folded: string): boolean {
  return commonWords.has(folded);
}

/** The beginning and end of a long prompt: a question precedes or follows its subject. */
export function endsOf(prompt: string, characters: number): string {
  return prompt.length <= 2 * characters ? prompt : `${prompt.slice(0, characters)}\n${prompt.slice(-characters)}`;
}
