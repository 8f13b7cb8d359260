/** 1 to 3 KB that say which entry they are of: a thousand of them fold the journal several times. */
export function rememberedValue(index: number): string {
  return `value of ${index} `.repeat(80 + ((index * 37) % 120));
}
