/** Takes the place of `raw-body` in the bundle: our HTTP server parses bodies itself, under its own limits. */
// oxlint-disable-next-line import/no-default-export -- as in the package.
export default function readBody(): never {
  throw new Error("bodies are read by our HTTP server");
}
