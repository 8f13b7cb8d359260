/** The lines of long texts that may have values, found by one quick pass for all of them: only these are read closely. Pure. */
import { ordinals, months, units } from "./notation-words.ts";
import { type Token, gap, isUnspaced, unitOf } from "./notations.ts";
import { type codeFinder, plain } from "./values.ts";
import { getOrInsert } from "../util/values.ts";

/** What the lines of a value have. */
interface Wanted {
  /** One of each of these stands near the others. */
  readonly near: readonly (readonly string[])[];
  /** So many lines before and after. */
  readonly reach: number;
  /** What may stand anywhere: the year of a day, the unit of a column. */
  readonly anywhere: readonly string[];
  /** Long numbers, however they are grouped. */
  readonly code: ReturnType<typeof codeFinder>;
}

const namesOf = <Value>(names: ReadonlyMap<string, Value>, wanted: (value: Value) => boolean): readonly string[] =>
  [...names].flatMap(([name, value]) => (wanted(value) ? [name] : []));
const fractions: Readonly<Record<string, string>> = { 5: "1", 25: "1", 75: "3", 33: "1", 333: "1", 67: "2", 667: "2" };

/** Days in numbers, put together in any order. */
function digitsOf([year, month, day]: readonly string[]): readonly string[] {
  const short = (each = "") => [each, each.replace(/^0/, "")];
  const days = short(month).flatMap((m) => short(day).flatMap((d) => [[m, d] as const]));
  const years = [year, year?.slice(2), ""].filter((each) => each !== undefined);
  return years.flatMap((y) => days.flatMap(([m, d]) => [y + m + d, d + m + y, m + d + y]));
}

/** What the lines of a number, a date or a time have. */
function nearOf({ forms, sole }: Token, numbers: ReadonlyMap<string, number>): Wanted["near"] {
  const all = [...forms, ...sole];
  const dates = all.flatMap((form) => (form.startsWith("d") ? [form.slice(1).split(/-(?!-)/)] : []));
  const [, , month = all.find((form) => form.startsWith("n"))?.slice(1)] = /^m(\d+)-(\d+)$/.exec(forms[0] ?? "") ?? [];
  const namesOfMonth = (wanted: string) => namesOf(months, (at) => Number(wanted) === at);
  if (dates.length > 0) {
    const together = dates.flatMap(digitsOf);
    return [
      [...dates.map(([, , day = ""]) => day), ...together],
      ["月", "월", ...dates.flatMap(([, each = ""]) => namesOfMonth(each)), ...together],
    ];
  }
  if (month !== undefined && /^m|^$/.test(forms[0] ?? "")) return [[month, ...namesOfMonth(month)]];
  const [, hour, ...rest] = /^t(\d+):(\d+)(?::(\d+))?/.exec(forms[0] ?? "") ?? [];
  if (hour !== undefined)
    return [[hour, `${Number(hour) % 12}`], ...rest.flatMap((each) => (Number(each ?? 0) > 0 ? [[each]] : []))];
  const words = all.flatMap((form) => {
    const value = Number(form);
    const [, whole = "", part = ""] = /^-?(\d+)\.(\d+)$/.exec(form) ?? [];
    const top = fractions[part];
    const tens = value - (value % 10);
    const isPart = (each: number) =>
      each === value || (value > 20 && (each === tens || each === 4 || each === 60 || (value > 99 && each >= 100)));
    return [
      ...(Number.isInteger(value)
        ? [...namesOf(numbers, isPart), ...namesOf(ordinals, ([each]) => each === form)]
        : []),
      ...(top === undefined ? [] : [top, `${whole}${top}`]),
    ];
  });
  return [[...all, ...words]];
}

/** What to look for of a value; words of `optional` may be missing. */
export function wantedOf(
  tokens: readonly Token[],
  optional: ReadonlySet<string>,
  code: Wanted["code"],
  numbers: ReadonlyMap<string, number>,
): Wanted {
  const isUnit = ({ word }: Token) => units.has(word);
  const bare = tokens.filter((token) => !isUnit(token) && token.word !== "x" && !optional.has(token.word));
  const needed = bare.length > 0 ? bare : tokens;
  const unitNames = (word: string) => [word, ...namesOf(units, (unit) => unit === unitOf(word))];
  const words = needed.filter(({ forms }) => forms.length === 0);
  return {
    reach: words.length === 0 && tokens.length < 3 ? tokens.length - 1 : 1 + Math.floor(words.length / 4),
    near: needed.flatMap((token) =>
      token.forms.length + token.sole.length > 0
        ? nearOf(token, numbers)
        : [isUnit(token) ? unitNames(token.word) : [token.word]],
    ),
    anywhere: tokens.flatMap((token) => [
      ...token.sole.filter((form) => /^\d{4}$/.test(form)),
      ...(isUnit(token) ? unitNames(token.word) : []),
    ]),
    code,
  };
}

/** Letters and digits that scans confuse are one. */
const alike: Readonly<Record<string, string>> = { o: "0", l: "1", i: "1", s: "5", b: "8", z: "2", e: "3" };
const [apart, joiner, space, sign, ignored, letters] = [1, 2, 3, 4, 5, 64];
/** For each UTF-16 code unit, filled as needed. Digits have no bit of `letters`. */
const classes = new Uint32Array(65_536);
const digitBit = 1 << 20;
/** Characters that are words. */
const singleBit = 1 << 21;

function classify(code: number): number {
  const character = String.fromCharCode(code);
  const [first = ""] = plain(character);
  const kind = /[.,'’/-]/.test(first)
    ? joiner
    : /[ \t\r\n]/.test(first)
      ? space
      : /[€$£¥%]/.test(first)
        ? sign
        : /\p{Nd}/u.test(first)
          ? digitBit + letters + first.charCodeAt(0)
          : /[\p{L}\p{Cs}]/u.test(first)
            ? (isUnspaced.test(first) ? singleBit : 0) + letters + (alike[first] ?? first).charCodeAt(0)
            : first === ""
              ? ignored
              : apart;
  classes[code] = kind;
  return kind;
}

const zero = letters + 48;
const [letterA, letterU, letterE] = ["a", "u", "3"].map((each) => letters + each.charCodeAt(0));
/** Müller and Mueller, ß and ss. */
const isSilent = (value: number, before: number): boolean =>
  value === before || (value === letterE && (before === letterA || before === letterU || before === zero));
/** Parts of one number or word: `1.234.567,50`. */
const mostParts = 6;
/** Longer lines are read in pieces. */
const pieceCharacters = 4_096;

/** Calls `hash` for each word and number of a text, also put together from parts, in an order of its pieces. */
function scan(
  text: string,
  { hash, piece }: { hash: (hash: number) => void; piece: (from: number, line: number) => void },
): void {
  // For each chain of parts: its hash with and without the zeros at its end.
  const [full, trimmed, last] = [0, 0, 0].map(() => new Int32Array(mostParts)) as [Int32Array, Int32Array, Int32Array];
  let [chains, line, from, isCut] = [0, 1, 0, false];
  piece(0, 1);
  for (let at = 0; at < text.length;) {
    const code = text.charCodeAt(at);
    const kind = classes[code] || classify(code);
    if (kind < letters) {
      at += 1;
      if (kind === sign) hash(Math.imul(code, 0x01000193));
      const isEnd = code === 10 || (code === 13 && text.charCodeAt(at) !== 10);
      if (isEnd) line += 1;
      if (isEnd || at - from > pieceCharacters) piece((from = at), line);
      if (kind === ignored) continue;
      const after = text.charCodeAt(at);
      const next = classes[after] || (at < text.length ? classify(after) : apart);
      // A line's end cuts a word at its hyphen; a space groups digits.
      if (kind === joiner) isCut = next === space;
      else if (kind !== space) isCut = false;
      const isGrouping = kind === space && (next & (classes[text.charCodeAt(at - 2)] ?? 0) & digitBit) !== 0;
      if (!isCut && !isGrouping && !(kind === joiner && next >= letters)) chains = 0;
      continue;
    }
    isCut = false;
    if (chains === mostParts) {
      for (const each of [full, trimmed, last]) each.copyWithin(0, 1);
      chains -= 1;
    }
    const isDigit = (kind & digitBit) !== 0;
    // Those of the part alone.
    let [sum, bare, before] = [0, 0, 0];
    for (const start = at; at < text.length; at += 1) {
      const own = classes[text.charCodeAt(at)] || classify(text.charCodeAt(at));
      if (own === ignored) continue;
      if (own < letters || ((own & digitBit) !== 0) !== isDigit || ((own & kind & singleBit) !== 0 && at > start))
        break;
      const value = own & ~digitBit;
      if ((isDigit || !isSilent(value, before)) && (sum !== 0 || value !== zero)) {
        sum = Math.imul(sum ^ value, 0x01000193) | 1;
        if (value !== zero) bare = sum;
      }
      before = value;
      for (let chain = 0; chain < chains; chain += 1) {
        const isSaid = isDigit || !isSilent(value, last[chain] ?? 0);
        last[chain] = value;
        if (!isSaid || (full[chain] === 0 && value === zero)) continue;
        full[chain] = Math.imul((full[chain] ?? 0) ^ value, 0x01000193) | 1;
        if (value !== zero) trimmed[chain] = full[chain] ?? 0;
      }
    }
    [full[chains], trimmed[chains], last[chains]] = [sum, bare, before];
    chains += 1;
    for (let chain = 0; chain < chains; chain += 1) hash(trimmed[chain] ?? 0);
  }
}

/** That of a word or number as a whole. */
function hashOf(text: string): number {
  const bare = /^[€$£¥%]$/.test(text) ? text : text.replaceAll(/[^\p{L}\p{Nd}]/gu, "");
  const found: number[] = [];
  scan(bare, { hash: (each) => void found.push(each), piece: () => undefined });
  // With its last part all chains end: the longest first.
  return found.at(-(bare.match(/\p{Nd}+|[^\p{Nd}]+/gu) ?? []).length) ?? 0;
}

/** Places of what may stand anywhere. */
const mostBeside = 2;

export class ValueLines {
  readonly #texts: readonly string[];
  readonly #wanted: readonly Wanted[];
  /** By text: where each piece begins, and its line. */
  readonly #starts: number[][] = [];
  readonly #lines: number[][] = [];
  /** By text: hash → pieces. */
  readonly #hits: Map<number, number[]>[] = [];

  constructor(texts: readonly string[], wanted: readonly Wanted[]) {
    this.#texts = texts;
    this.#wanted = wanted;
    const hashes = new Set(wanted.flatMap(({ near, anywhere }) => [...near.flat(), ...anywhere].map(hashOf)));
    const filter = new Uint8Array(65_536);
    for (const each of hashes) filter[each & 0xffff] = 1;
    for (const text of texts) {
      const [starts, lines, hits] = [[] as number[], [] as number[], new Map<number, number[]>()];
      for (const each of hashes) hits.set(each, []);
      scan(text, {
        piece: (from, line) => {
          starts.push(from);
          lines.push(line);
        },
        hash: (each) => {
          if (filter[each & 0xffff] === 0) return;
          const pieces = hits.get(each);
          if (pieces !== undefined && pieces.at(-1) !== starts.length - 1) pieces.push(starts.length - 1);
        },
      });
      this.#starts.push(starts);
      this.#lines.push(lines);
      this.#hits.push(hits);
    }
  }

  /** The texts without the lines that have nothing of these values; of each those from the place `from` to `to`. */
  excerpts(values: readonly number[], from: number, to: number) {
    let isAll = true;
    const texts = this.#texts.map((_text, at) => {
      const chosen = new Set<number>();
      for (const value of values) {
        const { places, beside } = this.#places(at, value);
        const { reach = 0 } = this.#wanted[value] ?? {};
        isAll &&= places.length <= to;
        for (const place of places.slice(from, to))
          for (let near = place - reach; near <= place + reach; near += 1) chosen.add(near);
        for (const each of beside) chosen.add(each);
      }
      return this.#excerpt(at, chosen);
    });
    return { texts, isAll };
  }

  readonly #known = new Map<string, { readonly places: readonly number[]; readonly beside: readonly number[] }>();

  #places(text: number, value: number) {
    const key = `${text} ${value}`;
    return getOrInsert(this.#known, key, () => {
      const { near = [], anywhere = [], code } = this.#wanted[value] ?? {};
      const hits = this.#hits[text] ?? new Map<number, number[]>();
      const groups = near.map((words) => {
        const own = [...new Set(words.map(hashOf))]
          .map((each) => hits.get(each) ?? [])
          .filter(({ length }) => length > 0);
        return own.length === 1 ? (own[0] ?? []) : [...new Set(own.flat())].toSorted((a, b) => a - b);
      });
      const reach = this.#wanted[value]?.reach ?? 0;
      const rarest = groups.reduce((least, each) => (each.length < least.length ? each : least), groups[0] ?? []);
      const places = rarest.filter((at) => groups.every((each) => each === rarest || isNear(each, at, reach)));
      const coded = code?.(this.#texts[text] ?? "") ?? -1;
      const ofCode = coded < 0 ? [] : [(this.#starts[text] ?? []).findLastIndex((start) => start <= coded)];
      const beside = anywhere.flatMap((word) => (hits.get(hashOf(word)) ?? []).slice(0, mostBeside));
      return { places: [...ofCode, ...places], beside };
    });
  }

  /** Lines keep their numbers. */
  #excerpt(text: number, chosen: ReadonlySet<number>): string {
    const [whole, starts, lines] = [this.#texts[text] ?? "", this.#starts[text] ?? [], this.#lines[text] ?? []];
    const parts: string[] = [];
    let next = 0;
    for (const piece of [...chosen].filter((each) => each >= 0 && each < starts.length).toSorted((a, b) => a - b)) {
      if (piece > next) parts.push(` ${gap.repeat(32)} `, "\n".repeat((lines[piece] ?? 0) - (lines[next] ?? 0)));
      parts.push(whole.slice(starts[piece], starts[piece + 1]));
      next = piece + 1;
    }
    return parts.join("");
  }
}

function isNear(pieces: readonly number[], at: number, reach: number): boolean {
  let [low, high] = [0, pieces.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((pieces[middle] ?? 0) < at - reach) low = middle + 1;
    else high = middle;
  }
  return (pieces[low] ?? Infinity) <= at + reach;
}
