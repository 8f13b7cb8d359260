import { judgeQuotes } from "../../src/orchestrator/checks/quotes.ts";
import type { Bench } from "../bench.ts";
import { halves, readHalf } from "./sets.ts";

interface Item {
  readonly id: string;
  readonly file: string;
  readonly source: string;
  readonly question: string;
  readonly statement: string;
  readonly truth: boolean | "opinion";
  /** Words of the source that an answer would give for it; those beside a false statement mostly refute it. */
  readonly quote: string;
}

/** Words that say more than a search can know. */
const claims = /\b(?:checked|supported|contradicted|verified|passed|failed|true|correct|proven)\b/i;
const mostCharacters = 160;

/** Texts as lines are shown: white space is one space. */
const plain = (text: string): string => text.replaceAll(/\s+/g, " ").trim();

/** What is said about a statement, with its quote or without one, as small models answer. */
function said({ file, source, question, statement, quote }: Item, isQuoted: boolean) {
  const files = [{ path: file, text: source }];
  const answer = isQuoted && quote !== "" ? `${statement}\n> ${quote}` : statement;
  const { text, result } = judgeQuotes(answer, false, { files, question });
  const [{ status, where, line = "" } = { status: "not_judged" as const }] = result.statements;
  const lines = source.split("\n");
  const shown = line.split(" | ").map((each) => each.replaceAll("…", ""));
  const places = where?.split(", ").map((place) => Number.parseInt(place.slice(file.length + 1), 10)) ?? [];
  const stands = places.every((at, index) => plain(lines.slice(at - 1).join(" ")).includes(shown[index] ?? "?"));
  // Where the quote and what is shown overlap.
  const at = plain(source).indexOf(quote);
  const ranges = shown.map((each) => [plain(source).indexOf(each), each.length] as const);
  return {
    status,
    isShown: where !== undefined,
    hasClaim: claims.test(text.replace(statement, "").replaceAll(line, "")),
    isMisplaced: !stands || line.length > mostCharacters,
    hasEvidence:
      where !== undefined && ranges.some(([from, length]) => from <= at + quote.length && at <= from + length),
  };
}

export const statements: Bench = {
  name: "statements",
  summary: "what is said about statements of answers, true and false ones, and which lines are shown beside them",
  runsSources: true,
  async run() {
    const rows = [];
    for (const half of halves) {
      const items = await readHalf<Item>("statements", half);
      for (const truth of items.length === 0 ? [] : ([true, false, "opinion"] as const)) {
        for (const isQuoted of [true, false]) {
          const own = items
            .filter((item) => item.truth === truth)
            .map((item) => ({ ...item, ...said(item, isQuoted) }));
          const count = (of: (item: (typeof own)[number]) => boolean) => own.filter(of).length;
          const labelled = own.filter(({ quote }) => quote !== "");
          rows.push({
            half,
            truth: String(truth),
            quote: isQuoted ? "as given" : "left out",
            statements: own.length,
            quoted: count(({ status }) => status === "quoted"),
            valueFound: count(({ status }) => status === "value_found"),
            notFound: count(({ status }) => status === "not_found"),
            notJudged: count(({ status }) => status === "not_judged"),
            claimsMore: count(({ hasClaim }) => hasClaim),
            misplaced: count(({ isMisplaced }) => isMisplaced),
            withLine: count(({ isShown }) => isShown),
            showsTheEvidence: `${labelled.filter(({ hasEvidence }) => hasEvidence).length} of ${labelled.length}`,
          });
        }
      }
    }
    return { rows };
  },
};
