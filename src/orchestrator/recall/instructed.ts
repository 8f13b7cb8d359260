/** Prefixes that embedding models require according to their model cards; most require none. */
const prefixes: readonly (readonly [name: RegExp, query: string, document: string])[] = [
  [/nomic-embed/i, "search_query: ", "search_document: "],
  [/embeddinggemma|embedding-gemma/i, "task: search result | query: ", "title: none | text: "],
  [/(^|[/_-])e5-/i, "query: ", "passage: "],
  [
    /mxbai-embed|bge-(small|base|large)-en|snowflake-arctic-embed/i,
    "Represent this sentence for searching relevant passages: ",
    "",
  ],
  [/qwen3-embedding/i, "Instruct: Given a question, retrieve the notes that answer it\nQuery: ", ""],
];

/** The text with the prefix of that model: some distinguish queries from documents. */
export function instructed(model: string, text: string, kind: "query" | "document"): string {
  const found = prefixes.find(([name]) => name.test(model));
  if (found === undefined) return text;
  const [, query, document] = found;
  return `${kind === "query" ? query : document}${text}`;
}
