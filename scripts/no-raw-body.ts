/**
 * Takes the place of `raw-body` in the bundle: 200 kB, compressed, with tables of encodings. The SDK's SSE transport reads
 * bodies with it, and here they are read before it gets their messages (`handleMessage`).
 */
// oxlint-disable-next-line import/no-default-export -- as raw-body has it
export default function getRawBody(): never {
  throw new Error("bodies are read before the SDK's transport");
}
