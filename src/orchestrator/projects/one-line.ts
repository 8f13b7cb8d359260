/** What no letter, sign or space shows; not the selector that colours an emoji. */
const invisible = /(?!\uFE0F)[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2028\u2029\u2800]/gu;

/** Without what moves a cursor, turns the direction of writing or can't be seen: it must look like what it is. */
export function oneLine(text: string): string {
  return text.replaceAll("\t", "    ").replaceAll(invisible, "\u{FFFD}");
}

/** A foreign name among our own words: quoted unless it is plain, and no sentence of its own. */
export function quotedName(name: string, most = 80): string {
  const short = name.length > most ? `${name.slice(0, most)}...` : name;
  return /^[\w.:/@+-]+$/.test(short) ? short : JSON.stringify(oneLine(short));
}
