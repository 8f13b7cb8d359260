/** File types by their first bytes, as names are unreliable. Signatures: IANA media types, libmagic. */
const signatures: readonly { readonly type: string; readonly bytes: readonly number[]; readonly at?: number }[] = [
  { type: "PNG image", bytes: [0x89, 0x50, 0x4e, 0x47] },
  { type: "JPEG image", bytes: [0xff, 0xd8, 0xff] },
  { type: "GIF image", bytes: [0x47, 0x49, 0x46, 0x38] },
  { type: "WebP image", bytes: [0x57, 0x45, 0x42, 0x50], at: 8 },
  { type: "PDF document", bytes: [0x25, 0x50, 0x44, 0x46, 0x2d] },
  { type: "ZIP archive (also docx, xlsx, jar)", bytes: [0x50, 0x4b, 0x03, 0x04] },
  { type: "gzip archive", bytes: [0x1f, 0x8b] },
  { type: "GGUF model", bytes: [0x47, 0x47, 0x55, 0x46] },
  { type: "ELF program", bytes: [0x7f, 0x45, 0x4c, 0x46] },
  { type: "Windows program", bytes: [0x4d, 0x5a, 0x90, 0x00] },
  { type: "Mach-O program", bytes: [0xcf, 0xfa, 0xed, 0xfe] },
  { type: "SQLite database", bytes: [0x53, 0x51, 0x4c, 0x69, 0x74, 0x65, 0x20, 0x66] },
];

/** The binary type of some content, or undefined when it may be text. */
export function binaryType(content: Uint8Array): string | undefined {
  const found = signatures.find(({ bytes, at = 0 }) => bytes.every((byte, index) => content[at + index] === byte));
  return found?.type;
}

export function isImage(content: Uint8Array): boolean {
  return binaryType(content)?.endsWith("image") === true;
}

/**
 * Decodes UTF-8 (with or without BOM), UTF-16 with BOM, and anything else as Windows-1252, the encoding of old Western
 * text files. Undefined for binary content (a known signature, or NUL characters).
 */
export function decodeText(content: Uint8Array): string | undefined {
  const encoding = utf16Encoding(content);
  if (encoding !== undefined) return new TextDecoder(encoding).decode(content);
  if (binaryType(content) !== undefined || content.includes(0)) return undefined;
  return decodeUtf8(content) ?? decodeWindows1252(content);
}

/** Undefined for what is not UTF-8. */
function decodeUtf8(content: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch {
    return undefined;
  }
}

/** Decodes text whose lines may differ in encoding, such as a diff of several files: each as UTF-8, else Windows-1252. */
export function decodeLines(content: Uint8Array): string {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.length);
  const lines: string[] = [];
  const whole = decodeUtf8(content);
  if (whole !== undefined) return whole.replaceAll("\0", "\uFFFD");
  for (let start = 0; start <= bytes.length;) {
    const end = bytes.indexOf(0x0a, start);
    const line = bytes.subarray(start, end === -1 ? bytes.length : end);
    lines.push(decodeUtf8(line) ?? decodeWindows1252(line));
    if (end === -1) break;
    start = end + 1;
  }
  return lines.join("\n").replaceAll("\0", "\uFFFD");
}

/** Windows-1252 from 0x80 to 0x9F (WHATWG Encoding); the rest is Latin-1. */
const windows1252 = "€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ";

/** By hand, because Node 20's decoder treats this encoding as Latin-1. */
function decodeWindows1252(content: Uint8Array): string {
  const latin1 = Buffer.from(content.buffer, content.byteOffset, content.length).toString("latin1");
  return latin1.replaceAll(/[\u0080-\u009f]/g, (character) => windows1252[character.charCodeAt(0) - 0x80] ?? character);
}

function utf16Encoding(content: Uint8Array): "utf-16le" | "utf-16be" | undefined {
  if (content[0] === 0xff && content[1] === 0xfe) return "utf-16le";
  if (content[0] === 0xfe && content[1] === 0xff) return "utf-16be";
  return undefined;
}
