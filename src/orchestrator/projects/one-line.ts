/** Control, format and other invisible characters, except the selector of coloured emoji. */
const invisible = /(?!\uFE0F)[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2028\u2029\u2800]/gu;

/** The text with U+FFFD for characters that move a cursor, change the writing direction or are invisible. */
export function oneLine(text: string): string {
  return text.replaceAll("\t", "    ").replaceAll(invisible, "\u{FFFD}");
}

/** A name from a project for use in a sentence: shortened, and quoted unless it is plain. */
export function quotedName(name: string, most = 80): string {
  const short = name.length > most ? `${name.slice(0, most)}...` : name;
  return /^[\w.:/@+-]+$/.test(short) ? short : JSON.stringify(oneLine(short));
}
