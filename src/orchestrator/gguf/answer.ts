import type { GgufHeader } from "./inspect.ts";

/** What the parsing process says about one file; `damage` begins with "it" or "its" and stands for the file. */
export type GgufAnswer = { readonly header: GgufHeader } | { readonly damage: string };
