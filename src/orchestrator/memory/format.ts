// Engines and the store may import from text/ but not from memory/.
export { formatBytes } from "../text/format-bytes.ts";
