interface Pattern {
  readonly what: string;
  readonly pattern: RegExp;
}

/** Known formats. Each pattern repeats only one class of characters, so matching is linear. */
const patterns: readonly Pattern[] = [
  { what: "a private key (PEM)", pattern: /-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----/ },
  { what: "an API key (sk-…)", pattern: /(?<![\w-])sk-(?=[A-Za-z_-]{0,200}\d)[A-Za-z0-9_-]{20,}/ },
  { what: "a payment key (sk_live_…)", pattern: /(?<!\w)[rs]k_(?:live|test)_[A-Za-z0-9]{16,}/ },
  { what: "a GitHub token (ghp_…)", pattern: /(?<!\w)(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{22,})/ },
  { what: "a GitLab token (glpat-…)", pattern: /(?<!\w)glpat-[\w-]{20,}/ },
  { what: "an AWS access key (AKIA…)", pattern: /(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])/ },
  { what: "a Slack token (xox…)", pattern: /(?<!\w)xox[abeoprs]-[A-Za-z0-9-]{10,}/ },
  { what: "a Google API key (AIza…)", pattern: /(?<!\w)AIza[\w-]{35}/ },
  { what: "a Hugging Face token (hf_…)", pattern: /(?<!\w)hf_[A-Za-z0-9]{30,}/ },
  { what: "an npm token (npm_…)", pattern: /(?<!\w)npm_[A-Za-z0-9]{36}/ },
  { what: "an API key (gsk_…)", pattern: /(?<!\w)gsk_[A-Za-z0-9]{40,}/ },
  { what: "a SendGrid key (SG.…)", pattern: /(?<!\w)SG\.[\w-]{20,30}\.[\w-]{40,}/ },
  { what: "a DigitalOcean token (dop_v1_…)", pattern: /(?<!\w)do[opr]_v1_[a-f0-9]{60,}/ },
  { what: "a bearer token", pattern: /(?<!\w)bearer\s{1,5}(?=[A-Za-z._~+/-]{0,200}\d)[\w.~+/-]{20,}/i },
  { what: "a JSON Web Token", pattern: /(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}/ },
  { what: "an address with a password in it", pattern: /:\/\/[^\s/:@]{1,100}:[^\s/@<{$*]{6,100}@[^\s/@]/ },
];

const named =
  /(?<![A-Za-z])(?:passw(?:or)?d|passphrase|pwd|secret|token|api[ _-]?key|access[ _-]?key|client[ _-]?secret)s?["']?\s{0,10}(?:[:=]|(?<=\s)is(?=\s))\s{0,10}["']?([^\s"',;]{8,200})/gi;

/**
 * Describes the first key or password in `text` ("an API key (sk-…)"); undefined when there is none. Never contains the
 * secret itself, because messages are shown and logged.
 */
export function findSecret(text: string): string | undefined {
  const known = patterns.find(({ pattern }) => pattern.test(text));
  if (known !== undefined) return known.what;
  for (const [, value = ""] of text.matchAll(named)) {
    if (looksRandom(value)) return "a password or token";
  }
  return undefined;
}

/**
 * Matches values that aren't secrets: an expression (`os.environ['KEY']`), a named number (`input_tokens=1024`), a file
 * (`docs/keys.md#rotate`).
 */
const harmless = /^(?:[A-Za-z_.]+[[(].*|\w+=\d+|[\w-]+(?:\/[\w-]+)*\.[a-z]{2,5}(?:#.*)?)$/;

/**
 * Whether a value looks like a secret: `Xk29fLq8zR` does; the word `hunter2` and the placeholder `<your-token>` don't.
 * Requires two kinds of characters and 3 bits per character.
 */
function looksRandom(value: string): boolean {
  if (/^(?:[<{$*%]|x{4,}|https?:|[.~]{0,2}\/)/i.test(value)) return false;
  if (harmless.test(value)) return false;
  const kinds = [/[a-z]/, /[A-Z]/, /[0-9]/, /[^A-Za-z0-9]/].filter((kind) => kind.test(value)).length;
  return kinds >= 2 && /[0-9]|[^A-Za-z0-9._-]/.test(value) && bitsPerCharacter(value) >= 3;
}

/** The Shannon entropy of the text's characters. */
function bitsPerCharacter(text: string): number {
  const counts = new Map<string, number>();
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1);
  let bits = 0;
  for (const count of counts.values()) bits -= (count / text.length) * Math.log2(count / text.length);
  return bits;
}
