import type { GgufHeader } from "./inspect.ts";

/** Result of the parsing process for one file; `damage` begins with "it" or "its", which stands for the file. */
export type GgufAnswer = { readonly header: GgufHeader } | { readonly damage: string };
