/** What the makers of embedding models want before a text, by their model cards; most want nothing. */
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

/** The text as the model of that name wants it: some tell questions from what answers them. */
export function instructed(model: string, text: string, kind: "query" | "document"): string {
  const found = prefixes.find(([name]) => name.test(model));
  if (found === undefined) return text;
  const [, query, document] = found;
  return `${kind === "query" ? query : document}${text}`;
}
