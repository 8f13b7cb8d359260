import { InvalidRequest } from "../api/errors.ts";
import type { MemoryEntry } from "../api/facade-recall.ts";
import { type NextStep, advice } from "../api/next-step.ts";
import { formatBytes } from "../util/format-bytes.ts";
import type { MemoryId } from "./search.ts";
import lengths from "./iban-lengths.json" with { type: "json" };

/** Characters of a key. */
const maxKeyLength = 200;
/** Bytes of a value in UTF-8: about 16,000 tokens. */
const maxValueBytes = 64 * 1024;
const maxTags = 20;
const maxTagLength = 50;
/** 100 years: times beyond the year 9999 have no ISO form. */
const maxTtlSeconds = 100 * 366 * 86_400;

/** Control characters, including line breaks. */
const control = /[\p{Cc}\u2028\u2029]/u;

/** The folder and the key, separated by a line break, which a key can't contain. */
export function idOf(project: string | undefined, key: string): MemoryId {
  return project === undefined ? key : `${project}\n${key}`;
}

/** Whether the entry has expired at `nowMs`. Expired entries are treated as deleted. */
export function isExpired(entry: MemoryEntry, nowMs: number): boolean {
  return entry.expiresAt !== undefined && Date.parse(entry.expiresAt) <= nowMs;
}

/** The key trimmed and in NFC, so that `é` is one key however it was typed. Throws `InvalidRequest`. */
export function normaliseKey(given: string): string {
  const next = advice(`use a key of 1 to ${maxKeyLength} characters on one line, such as "preferred editor"`);
  // Checked first, so that normalizing a huge key costs nothing.
  if (given.length > 4 * maxKeyLength) throw tooLong(given.length, next);
  const key = given.trim().normalize("NFC");
  if (key === "") throw new InvalidRequest("the key is empty", { next });
  if (key.length > maxKeyLength) throw tooLong(key.length, next);
  if (control.test(key)) {
    throw new InvalidRequest("the key contains a line break or another control character", { next });
  }
  return key;
}

function tooLong(length: number, next: NextStep): InvalidRequest {
  return new InvalidRequest(`the key has ${length} characters; at most ${maxKeyLength} are allowed`, { next });
}

/** Throws `InvalidRequest` for a value that is blank or larger than `maxValueBytes`. */
export function checkValue(value: string): string {
  if (value.trim() === "") {
    throw new InvalidRequest("the value is empty", { next: [advice("give a value"), { step: "forgetMemory" }] });
  }
  const bytes = Buffer.byteLength(value);
  if (bytes > maxValueBytes) {
    throw new InvalidRequest(`the value has ${formatBytes(bytes)}; at most ${maxValueBytes / 1024} KiB are allowed`, {
      next: advice("save its essential part, or the path of a file that has all of it"),
    });
  }
  return value;
}

/** The tags trimmed, in NFC and without duplicates. Throws `InvalidRequest`. */
export function normaliseTags(given: readonly string[]): readonly string[] {
  const next = advice(
    `give at most ${maxTags} tags of 1 to ${maxTagLength} characters, without commas and line breaks`,
  );
  if (given.length > maxTags) {
    throw new InvalidRequest(`${given.length} tags were given; at most ${maxTags} are allowed`, { next });
  }
  const tags = given.map((each) => each.trim().normalize("NFC"));
  const wrong = tags.find((tag) => tag === "" || tag.length > maxTagLength || tag.includes(",") || control.test(tag));
  if (wrong !== undefined) {
    throw new InvalidRequest(wrong === "" ? "a tag is empty" : "a tag is too long, or contains a comma or line break", {
      next,
    });
  }
  return [...new Set(tags)];
}

/** The expiry of an entry with `ttlSeconds`, as ISO 8601. Throws `InvalidRequest`. */
export function expiryOf(ttlSeconds: number, nowMs: number): string {
  if (!Number.isFinite(ttlSeconds) || ttlSeconds <= 0 || ttlSeconds > maxTtlSeconds) {
    throw new InvalidRequest(`ttl must be between 1 and ${maxTtlSeconds} seconds (100 years), not ${ttlSeconds}`, {
      next: advice("give 0 for an entry that never expires"),
    });
  }
  return new Date(nowMs + ttlSeconds * 1_000).toISOString();
}

/** Known formats. Each pattern repeats only one class of characters, so matching is linear. */
const patterns: readonly { readonly what: string; readonly pattern: RegExp }[] = [
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

/** "Password" in the languages of Europe and Asia. */
const passwordWords =
  "passwor[dt]s?|pass ?code|passphrase|passwd|pwd|kennwort|zugangscode|mots? de passe|contrase[nñ]as?|palavra-passe|senhas?|parola(?: d'ordine)?|wachtwoord|lösenord|adgangskode|passord|salasana|has[lł]o|heslo|jelsz[oó]|lozinka|geslo|[sş]ifre|parol[aă]?|пароль|код доступа|κωδικός|kata sandi|m[aậ]t kh[aẩ]u|รหัสผ่าน|पासवर्ड|كلمة (?:السر|المرور)|סיסמה|パスワード|暗証番号|密[码碼]|口令|비밀번호";
const isWords = "(?:is|ist|lautet|est|es|é|è|är|er|on|to|jest|je|это|は|是|为|為|은|는)";
/** A password of people: `password of the NAS is sunshine-42`. */
const password = new RegExp(
  String.raw`(?<![\p{Script=Latin}\p{N}])(?:${passwordWords})(?![ _-]?(?:manager|polic|reset|hash|field|length|stor|generator|prompt|rule))` +
    String.raw`(?:[ _-][^\n:=]{1,30}?)?["']?\s{0,5}(?:([:=：])|(?<=\s)${isWords}(?=[\s:])|(?<!\p{Script=Latin})[は是为為은는])\s{0,5}` +
    String.raw`(?:(?:is|ist|est|es)\s{1,5})?["'«„“「]?([^\s"'»“」]{4,200})([^\n]{0,20})`,
  "giu",
);
/** The key of a Wi-Fi network: the word for the network, and soon after it that for its key. */
const wifi = new RegExp(
  String.raw`(?<![\p{L}\p{N}])(?:wi-?fi|wlan|wpa[23]?|ssid|hotspot|router|fritz!?box)(?![\p{L}])[^\n]{0,60}?` +
    String.raw`(?:${passwordWords}|key|pass|code|pin|schlüssel|cl(?:é|ef)|clave|chiave|chave|sleutel|nyckel|klucz|ключ|キー|密[钥鑰])["']?` +
    String.raw`(?:\s{0,5}(?:([:=：])|${isWords})\s{0,5}|\s)["']?([^\s"',;]{8,63})`,
  "giu",
);
/** What a QR code of a Wi-Fi network says. */
const wifiCode = /WIFI:(?=[^\n]{0,200}P:[^;\n])[^\n]{0,200};;/i;

/** A word after a colon that is no password: a type, a place, a rule. */
const noPassword =
  /^(?:string|str|text|varchar|char|bytes?|null|nil|none|no|yes|true|false|any|unknown|never|optional|required|empty|hidden|secret|hash(?:ed|es)?|bcrypt|argon2\w*|scrypt|rotated?|stored?|kept|see|ask|in|at|from|via|under|use|the|min\w*|max\w*|at|length|reset|manager|policy|keychain|keepass\w*|1password|bitwarden|lastpass|vault|siehe|im|steht|liegt|dans|voir|en|ver|nel|vedi)$/i;

/** Whether the value of a named password is one: also a plain word after a colon, if nothing follows it. */
function isPassword(value: string, separator: string | undefined, rest: string): boolean {
  const bare = value.replace(/[.,;!?)\]]{1,3}$/, "");
  if (/^(?:[<{$*%[(]|x{4,}|https?:|[.~]{0,2}\/)/i.test(bare) || harmless.test(bare) || noPassword.test(bare))
    return false;
  const isMixed = /[\d]/.test(bare) || /\p{Ll}.*\p{Lu}/u.test(bare) || /\p{L}[^\p{L}\p{N}\s'’.-]+/u.test(bare);
  if (isMixed && bare.length >= 4) return true;
  return separator !== undefined && bare.length >= 6 && /^[\s.,;!?)]*$/.test(rest);
}

/** Lengths of IBANs by country. */
const ibanLengths: Readonly<Record<string, number>> = lengths;

/** Whether the text has an IBAN, in groups or not, whose check digits are right. */
function hasIban(text: string): boolean {
  for (const { index } of text.matchAll(/(?<![A-Z0-9])[A-Z]{2}\d{2}(?=[ \u00A0-]?[A-Z0-9])/gi)) {
    const length = ibanLengths[text.slice(index, index + 2).toUpperCase()];
    if (length === undefined) continue;
    const found = new RegExp(`^(?:[A-Z0-9][ \\u00A0-]?){${length - 1}}[A-Z0-9](?![A-Z0-9])`, "i").exec(
      text.slice(index, index + 2 * length),
    );
    if (found !== null && isIban(found[0].replaceAll(/[^A-Z0-9]/gi, "").toUpperCase())) return true;
  }
  return false;
}

/** ISO 7064: the country and its check digits last, letters as two digits, the rest of a division by 97 is 1. */
function isIban(compact: string): boolean {
  let rest = 0;
  for (const character of compact.slice(4) + compact.slice(0, 4)) {
    for (const digit of Number.parseInt(character, 36).toString()) rest = (rest * 10 + Number(digit)) % 97;
  }
  return rest === 1;
}

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
  if (hasIban(text)) return "an account number (IBAN)";
  if (wifiCode.test(text)) return "the key of a Wi-Fi network";
  for (const [, separator, value = ""] of text.matchAll(wifi)) {
    if (
      /\d/.test(value) ? isPassword(value, undefined, "") : separator !== undefined && isPassword(value, separator, "")
    ) {
      return "the key of a Wi-Fi network";
    }
  }
  for (const [, separator, value = "", rest = ""] of text.matchAll(password)) {
    if (isPassword(value, separator, rest)) return "a password";
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
