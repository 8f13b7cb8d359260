/** A value of 1 to 3 KB that names its entry. A thousand of them fold the journal several times. */
export function rememberedValue(index: number): string {
  return `value of ${index} `.repeat(80 + ((index * 37) % 120));
}
