import { recordsOf } from "./rows-cells.ts";
import { getOrInsert } from "../util/values.ts";

/** A text to split: a file, or a passage of one. */
export interface SplitSource {
  readonly path: string;
  readonly text: string;
  /** Number of the first line of a passage, and the headings that it stands under. Absent: a whole file. */
  readonly firstLine?: number;
  readonly headings?: readonly string[];
  /** The header of the table that the text begins in, if it begins below it: the rows say little without. */
  readonly header?: string | undefined;
}

/** Consecutive text of one file. */
export interface Passage extends Required<Omit<SplitSource, "header">>, Pick<SplitSource, "header"> {
  /** From 1, like `firstLine`; both ends are included. */
  readonly lastLine: number;
}

/** What is read with one request: a passage of a long file, or several small files. */
export interface TextPart {
  /** For people: `guide.md: 3.2 Ports`, `server.ts: class Server`, `log.txt: lines 120–180`, `a.ts and 3 more`. */
  readonly name: string;
  readonly passages: readonly Passage[];
  /** With the frames of its passages. */
  readonly tokens: number;
}

/**
 * How good a place is to cut, smallest first: 1 to 6 are headings by their level, and declarations of program text by
 * their indentation.
 */
const cuts = { paragraph: 7, line: 9, withinRecord: 9.5, withinLine: 10 } as const;

/** A line, or a piece of one that is too long for a part. */
interface Atom {
  readonly start: number;
  readonly end: number;
  readonly line: number;
  /** How good it is to cut before it. */
  cut: number;
  readonly tokens: number;
  /** The headings that are in force, its own included. Shared by the atoms of a section. */
  headings: readonly string[];
  /** The header above it, if it is a row. Shared by the rows of a table. */
  readonly header?: string | undefined;
}

/** Atoms `from` to `to` (excluded) of one source. */
interface Unit {
  readonly source: SplitSource;
  readonly atoms: readonly Atom[];
  readonly from: number;
  readonly to: number;
  readonly tokens: number;
  /** What its header takes where a passage begins with it. */
  readonly headerTokens: number;
}

/**
 * Splits texts into parts of at most `maxTokens`: at headings, declarations, paragraphs, lines, then characters, in this
 * order, each only where the one before leaves too much; rows of tables and entries of logs are cut last. Small neighbours,
 * small files included, share a part. The texts of the passages of a file, joined, are the file. Takes linear time.
 */
export function splitTexts(
  sources: readonly SplitSource[],
  limits: {
    /** Limit of a part, at least 16. */
    readonly maxTokens: number;
    /** What each passage costs beyond its text. */
    readonly frameTokens: number;
    readonly countTokens: (text: string, path: string) => number;
    /** The end of a section shares no part with the next one. */
    readonly keepsSections?: boolean;
  },
): readonly TextPart[] {
  const room = Math.max(8, limits.maxTokens - limits.frameTokens);
  const units = sources.flatMap((source) => unitsOf(source, room, (text) => limits.countTokens(text, source.path)));
  const packed: { units: Unit[]; tokens: number }[] = [];
  for (const unit of units) {
    const last = packed.at(-1);
    const isSameFile = last?.units.at(-1)?.source === unit.source;
    const tokens = unit.tokens + (isSameFile ? 0 : limits.frameTokens + unit.headerTokens);
    const isJoined = limits.keepsSections !== true || sectionOf(last?.units.at(-1)) === sectionOf(unit);
    if (last !== undefined && isJoined && last.tokens + tokens <= limits.maxTokens) {
      last.units.push(unit);
      last.tokens += tokens;
    } else packed.push({ units: [unit], tokens: unit.tokens + unit.headerTokens + limits.frameTokens });
  }
  const parts = packed.map(({ units: held, tokens }) => ({ passages: passagesOf(held), tokens }));
  return named(parts);
}

/** The same object for all of a section. */
function sectionOf(unit: Unit | undefined): readonly string[] | undefined {
  return unit?.atoms[unit.from]?.headings;
}

/** Pieces of a source that fit a part, in order. */
function unitsOf(source: SplitSource, maxTokens: number, countTokens: (text: string) => number): readonly Unit[] {
  const atoms = atomsOf(source, maxTokens, countTokens);
  const headers = new Map<string, number>();
  const headerTokensAt = (at: number): number => {
    const { header } = atoms[at] ?? {};
    if (header === undefined) return 0;
    return getOrInsert(headers, header, () => countTokens(header));
  };
  const sums = [0];
  for (const { tokens } of atoms) sums.push((sums.at(-1) ?? 0) + tokens);
  const units: Unit[] = [];
  const divide = (from: number, to: number): void => {
    const tokens = (sums[to] ?? 0) - (sums[from] ?? 0);
    const headerTokens = headerTokensAt(from);
    if (tokens + headerTokens <= maxTokens || to - from <= 1) {
      if (to > from) units.push({ source, atoms, from, to, tokens, headerTokens });
      return;
    }
    let best: number = cuts.withinLine;
    for (let at = from + 1; at < to; at += 1) best = Math.min(best, atoms[at]?.cut ?? best);
    let start = from;
    for (let at = from + 1; at < to; at += 1) {
      if (atoms[at]?.cut !== best) continue;
      divide(start, at);
      start = at;
    }
    divide(start, to);
  };
  divide(0, atoms.length);
  return units;
}

/** Lines with their headings and the quality of a cut before each. */
function atomsOf(source: SplitSource, maxTokens: number, countTokens: (text: string) => number): readonly Atom[] {
  const { path, text, firstLine = 1, headings: outer = [] } = source;
  const outline = outlineFor(path);
  const recordAt = recordsOf({ ...source, firstLine }, (header) => countTokens(header) <= maxTokens / 3);
  const atoms: Atom[] = [];
  const stack: { readonly level: number; readonly title: string }[] = [];
  let headings: readonly string[] = outer;
  let wasBlank = false;
  let isAfterTitle = false;
  let line = firstLine;
  for (let start = 0; start < text.length; line += 1) {
    const newline = text.indexOf("\n", start);
    const end = newline === -1 ? text.length : newline + 1;
    // Longer lines are no headings.
    const head = text.slice(start, Math.min(end, start + 200)).trimEnd();
    const isBlank = head === "" && end - start <= 200;
    const title = isBlank ? undefined : outline.titleOf(head);
    const { header, isContinued } = recordAt(start, head, end);
    let cut = wasBlank && !isBlank && !isAfterTitle ? outline.paragraphCut(head) : cuts.line;
    if (isContinued) cut = cuts.withinRecord;
    let first = atoms.length;
    if (title !== undefined) {
      // A heading is not parted from its first section either.
      const level = isAfterTitle && title.level > (stack.at(-1)?.level ?? 0) ? cuts.line : title.level;
      while ((stack.at(-1)?.level ?? 0) >= title.level) stack.pop();
      stack.push(title);
      headings = [...outer, ...stack.map((each) => each.title)];
      // Comments and decorators belong to what follows them.
      while (first > 0 && outline.isLeading(text, atoms[first - 1])) first -= 1;
      const leading = atoms[first];
      if (leading === undefined) cut = Math.min(cut, level);
      else leading.cut = Math.min(leading.cut, level);
      for (let at = first; at < atoms.length; at += 1) (atoms[at] as Atom).headings = headings;
    }
    const tokens = countTokens(text.slice(start, end));
    const atom = { start, end, line, cut, headings, header };
    const room = maxTokens - (header === undefined || tokens <= (maxTokens * 2) / 3 ? 0 : countTokens(header));
    if (tokens <= room) atoms.push({ ...atom, tokens });
    else for (const piece of piecesOf(text, atom, room, countTokens)) atoms.push(piece);
    // A heading is not parted from its first paragraph.
    isAfterTitle = title !== undefined || (isAfterTitle && isBlank);
    wasBlank = isBlank;
    start = end;
  }
  return atoms;
}

/** A line that is too long for a part, in pieces, cut at spaces where there are some. */
function piecesOf(
  text: string,
  { start, end, line, cut, ...rest }: Omit<Atom, "tokens">,
  maxTokens: number,
  countTokens: (text: string) => number,
): readonly Atom[] {
  const atoms: Atom[] = [];
  // The most expensive characters cost two tokens each, and counts are rounded up.
  let size = 256;
  for (let at = start; at < end;) {
    let to = Math.min(end, at + size);
    if (to < end) {
      const space = text.slice(at, to).lastIndexOf(" ");
      if (space > size / 2) to = at + space + 1;
      else if (isLowSurrogate(text, to) && to - at > 1) to -= 1;
      else if (isLowSurrogate(text, to)) to += 1;
    }
    const tokens = countTokens(text.slice(at, to));
    if (tokens > maxTokens && to - at > 2) {
      size = Math.max(2, Math.floor(size / 2));
      continue;
    }
    atoms.push({ start: at, end: to, line, cut: at === start ? cut : cuts.withinLine, tokens, ...rest });
    at = to;
  }
  return atoms;
}

function isLowSurrogate(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code >= 0xdc00 && code <= 0xdfff;
}

/** How the structure of a kind of text is recognized, line by line. */
interface Outline {
  /** The heading or declaration that the line is. */
  titleOf(line: string):
    | {
        /** 1 to 6. */
        readonly level: number;
        readonly title: string;
      }
    | undefined;
  /** How good a cut is before a line that follows a blank one. */
  paragraphCut(line: string): number;
  /** Whether a line belongs to the declaration below it. */
  isLeading(text: string, atom: Atom | undefined): boolean;
}

const programText =
  /\.(?:[cm]?[jt]sx?|py|go|rs|java|kt|kts|swift|scala|cs|cpp|cc|cxx|c|h|hpp|rb|php|lua|sh|bash|zsh|pl|dart|ex|exs|vue|svelte|zig|proto|sql)$/i;

function outlineFor(path: string): Outline {
  if (path.startsWith("git:")) return patchOutline;
  return programText.test(path) ? programOutline : documentOutline();
}

const patchOutline: Outline = {
  titleOf(line) {
    const [, file] = /^diff --git a\/(.*?) b\//.exec(line) ?? [];
    if (file !== undefined) return { level: 2, title: file };
    if (/^commit [0-9a-f]{7,}/.test(line)) return { level: 1, title: line.slice(0, 14) };
    return line.startsWith("@@ ") ? { level: 3, title: shortened(line) } : undefined;
  },
  paragraphCut: () => cuts.paragraph,
  isLeading: () => false,
};

/** Markdown headings outside fences. Has state: for one text. */
function documentOutline(): Outline {
  let fence: string | undefined;
  return {
    titleOf(line) {
      const [, mark = ""] = /^ {0,3}(`{3,}|~{3,})/.exec(line) ?? [];
      if (mark !== "") {
        if (fence === undefined) fence = mark;
        else if (mark.startsWith(fence)) fence = undefined;
      }
      if (fence !== undefined) return undefined;
      const [, marks, title = ""] = /^(#{1,6})\s+(.*?)[\s#]*$/.exec(line) ?? [];
      return marks === undefined ? undefined : { level: marks.length, title: shortened(title) };
    },
    paragraphCut: () => (fence === undefined ? cuts.paragraph : cuts.line),
    isLeading: () => false,
  };
}

const modifiers =
  /^(?:(?:export|default|declare|async|public|private|protected|internal|static|abstract|final|override|readonly|unsafe|extern|virtual|inline|pub(?:\([^)]{0,40}\))?)\s+)*/;
const declared =
  /^(class|interface|enum|struct|trait|impl|mod|module|namespace|object|record|union|type|func|function\*?|fn|def|fun|sub|message|service|CREATE)\b\s*(.*)$/;
const variable = /^(const|let|var|val)\s+([\w$]+)/;
const method = /^[#*]?([A-Za-z_$][\w$]*)\s*(?:<[^>]{0,60}>)?\(.*\{$/;
const statements = new Set("if for while switch catch return function do else try with".split(" "));

const programOutline: Outline = {
  titleOf(line) {
    const indent = indentOf(line);
    const level = Math.min(6, 1 + Math.ceil(indent / 2));
    const bare = line.trimStart().replace(modifiers, "");
    const [, keyword, rest = ""] = declared.exec(bare) ?? [];
    if (keyword !== undefined) return { level, title: shortened(`${keyword} ${nameIn(rest)}`) };
    const [, kind = "", name] = variable.exec(bare) ?? [];
    if (name !== undefined && indent === 0) return { level, title: shortened(`${kind} ${name}`) };
    const [, called] = indent === 0 ? [] : (method.exec(bare) ?? []);
    return called === undefined || statements.has(called) ? undefined : { level, title: shortened(called) };
  },
  // Between statements at the left margin rather than within a function.
  paragraphCut: (line) => cuts.paragraph + Math.min(1, indentOf(line) / 16),
  isLeading(text, atom) {
    if (atom === undefined || atom.cut === cuts.withinLine) return false;
    return /^\s*(?:\/\/|\/\*|\*|#|@|--|""")/.test(text.slice(atom.start, Math.min(atom.end, atom.start + 60)));
  },
};

/** The declared name: `Server` of `Server<T> extends Base {`, `(s *Server) Start` of `(s *Server) Start(port int) {`. */
function nameIn(rest: string): string {
  const [, receiver = "", name = ""] = /^(\([^)]*\)\s*)?([^({:=;]*)/.exec(rest) ?? [];
  return `${receiver}${name.split(/ (?:extends|implements) /)[0] ?? ""}`.trim();
}

function indentOf(line: string): number {
  let columns = 0;
  for (const character of line) {
    if (character === "\t") columns += 4;
    else if (character === " ") columns += 1;
    else break;
  }
  return columns;
}

const maxTitleCharacters = 60;

function shortened(title: string): string {
  const plain = title.replace(/\p{Cc}+/gu, " ").trim();
  return plain.length <= maxTitleCharacters ? plain : `${plain.slice(0, maxTitleCharacters - 1).trimEnd()}…`;
}

/** The passages of a part: the units of each file, joined. */
function passagesOf(units: readonly Unit[]): readonly Passage[] {
  const passages: Passage[] = [];
  for (let at = 0; at < units.length;) {
    const { source, atoms, from } = units[at] as Unit;
    let next = at + 1;
    while (units[next]?.source === source) next += 1;
    const { to } = units[next - 1] as Unit;
    const [first, last] = [atoms[from] as Atom, atoms[to - 1] as Atom];
    passages.push({
      path: source.path,
      headings: first.headings,
      firstLine: first.line,
      lastLine: last.line,
      text: source.text.slice(first.start, last.end),
      header: first.header,
    });
    at = next;
  }
  return passages;
}

/** Gives each part a name; equal ones get their lines. */
function named(parts: readonly Omit<TextPart, "name">[]): readonly TextPart[] {
  const pieces = new Map<string, number>();
  for (const { path } of parts.flatMap(({ passages }) => passages)) pieces.set(path, (pieces.get(path) ?? 0) + 1);
  const isWhole = ({ path, firstLine }: Passage) => pieces.get(path) === 1 && firstLine === 1;
  const names = parts.map(({ passages }) => {
    const [first] = passages;
    if (first === undefined) return "";
    const title = first.headings.at(-1);
    const name = isWhole(first) ? first.path : `${first.path}: ${title ?? linesOf(first)}`;
    return passages.length === 1 ? name : `${name} and ${passages.length - 1} more`;
  });
  const isRepeated = repetitionsIn(names);
  const withLines = parts.map(({ passages: [first] }, index) => {
    const name = names[index] ?? "";
    return isRepeated(name) && first !== undefined && !name.includes(linesOf(first))
      ? `${name}, ${linesOf(first)}`
      : name;
  });
  const isStillRepeated = repetitionsIn(withLines);
  const numbers = new Map<string, number>();
  return parts.map((part, index) => {
    const name = withLines[index] ?? "";
    const number = (numbers.get(name) ?? 0) + 1;
    numbers.set(name, number);
    // Pieces of one line.
    return { name: isStillRepeated(name) ? `${name}, piece ${number}` : name, ...part };
  });
}

function repetitionsIn(names: readonly string[]): (name: string) => boolean {
  const repeated = new Set(names.toSorted().filter((name, index, sorted) => name === sorted[index + 1]));
  return (name) => repeated.has(name);
}

/** `lines 120–180` */
export function linesOf({ firstLine, lastLine }: Pick<Passage, "firstLine" | "lastLine">): string {
  return firstLine === lastLine ? `line ${firstLine}` : `lines ${firstLine}–${lastLine}`;
}
