/** A model name split into words, with the end of each in `base`. */
interface NameWords {
  /** Lower case, without host, namespace and tag. */
  readonly base: string;
  readonly tag: string;
  readonly words: readonly string[];
  /** `ends[i]` is the offset in `base` after `words[i]`. */
  readonly ends: readonly number[];
}

/**
 * Splits a name so that different spellings yield the same words: `llama3.2` and `Llama-3.2` are both `llama` `3.2`. A
 * number includes its unit (`7b`, `135m`, `128k`): `gemma-2b` is `gemma` `2b`, `gemma2` is `gemma` `2`.
 */
export function nameWords(name: string): NameWords {
  const lower = name.trim().toLowerCase();
  const last = lower.slice(lower.lastIndexOf("/") + 1);
  const colon = last.indexOf(":");
  const base = colon < 0 ? last : last.slice(0, colon);
  const tag = colon < 0 || colon === last.length - 1 ? "latest" : last.slice(colon + 1);
  const words: string[] = [];
  const ends: number[] = [];
  for (const match of base.matchAll(/\d+(?:\.\d+)*(?:[bmkt](?![a-z]))?|[a-z]+/g)) {
    words.push(match[0]);
    ends.push(match.index + match[0].length);
  }
  return { base, tag, words, ends };
}

/**
 * Whether the name contains "code" or "coder", which suggests a code model; `encoder`, `decoder` and `transcoder` don't
 * count.
 */
export function isCodeName(name: string): boolean {
  const { base, tag } = nameWords(name);
  return `${base}:${tag}`.replaceAll(/(?:en|de|trans)cod(?:er|e)/g, "").includes("code");
}

/** Whether `text` matches a glob whose only special character is `*`. Linear time, without backtracking. */
export function matchesGlob(glob: string, text: string): boolean {
  const parts = glob.split("*");
  const [first = "", ...rest] = parts;
  const last = rest.pop();
  if (last === undefined) return glob === text;
  if (!text.startsWith(first)) return false;
  let from = first.length;
  for (const part of rest) {
    const at = text.indexOf(part, from);
    if (at < 0) return false;
    from = at + part.length;
  }
  return text.length - from >= last.length && text.endsWith(last);
}

/** What a file's name says of how its weights are stored: `q4_K_M`, `IQ3_XS`, `fp16`, `qat`. */
const storage =
  /(?<![a-z0-9])(?:ud-)?(?:i?q\d+(?:[_-](?:\d|k|s|m|l|x{1,2}[sl]|nl))*|tq\d_\d|b?fp?(?:16|32|8)|mxfp4|int[48]|[48]bit|qat|awq|gptq|mlx|exl2|gguf)(?![a-z0-9])/g;
/** What the usual file of a model may or may not have in its name. */
const usual: ReadonlySet<string> = new Set(["instruct", "chat", "it", "latest"]);
const sizeWord = /^\d+(?:\.\d+)?[bm]$/;

/** A model without its quantization: its words, and its size if the name states one. */
function variantOf(name: string): { readonly words: string; readonly parameters: number | undefined } {
  const { base, tag } = nameWords(name);
  const words = nameWords(`${base}-${tag}`.replaceAll(storage, "")).words.filter((word) => !usual.has(word));
  const at = words.findIndex((word) => sizeWord.test(word));
  return { words: words.filter((_word, index) => index !== at).join(" "), parameters: parametersIn(words[at]) };
}

function parametersIn(word: string | undefined): number | undefined {
  return word === undefined ? undefined : Number.parseFloat(word) * (word.endsWith("b") ? 1e9 : 1e6);
}

/** The parameters that a name states: 7e9 for `qwen2.5-7b`. */
export function statedParameters(name: string): number | undefined {
  return variantOf(name).parameters;
}

/** Whether the names mean the same model, of the same size, in two quantizations (`llama3:8b` and `llama3:8b-instruct-q8_0`). */
export function isOtherQuantization(
  a: { readonly model: string; readonly parameterCount?: number },
  b: typeof a,
): boolean {
  const [one, other] = [variantOf(a.model), variantOf(b.model)];
  if (a.model === b.model || one.words !== other.words) return false;
  const [left, right] =
    one.parameters === undefined || other.parameters === undefined
      ? [a.parameterCount ?? one.parameters, b.parameterCount ?? other.parameters]
      : [one.parameters, other.parameters];
  // `7b` of one name is `7.6B` in a file.
  return left !== undefined && right !== undefined && Math.abs(left - right) <= 0.1 * Math.max(left, right);
}
