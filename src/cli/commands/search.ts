import { jsonText } from "../../orchestrator/util/control-characters.ts";
import type { CommandIo } from "../terminal/io.ts";

/** A page with models, and its address. */
interface SearchPage {
  readonly name: string;
  readonly url: string;
}

/** `ollm search WORDS`: prints addresses. The registries have no search interface to rely on, so nothing is sent. */
export function search(
  words: readonly string[],
  options: { readonly json?: boolean },
  io: Pick<CommandIo, "stdout">,
): Promise<number> {
  const query = words.join(" ").trim();
  const pages = searchPages(query);
  if (options.json === true) io.stdout(`${jsonText({ query, pages }, 2)}\n`);
  else {
    const lines = pages.map(({ name, url }) => `${name}:\n  ${url}\n`).join("");
    io.stdout(`${lines}To download one:\n  ollm pull NAME\n  ollm pull hf.co/OWNER/REPOSITORY\n`);
  }
  return Promise.resolve(0);
}

/** The pages that list models for a query; all models for an empty one. */
export function searchPages(query: string): readonly SearchPage[] {
  const isAll = query === "";
  const gguf = new URLSearchParams({ library: "gguf", ...(isAll ? {} : { search: query }) });
  return [
    {
      name: "Ollama's library",
      url: isAll
        ? "https://ollama.com/library"
        : `https://ollama.com/search?${new URLSearchParams({ q: query }).toString()}`,
    },
    { name: "GGUF models on Hugging Face", url: `https://huggingface.co/models?${gguf.toString()}` },
  ];
}
