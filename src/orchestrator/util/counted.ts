/** `1 model`, `2 models`; `1 entry`, `2 entries` with the plural given. */
export function counted(count: number, singular: string, plural = `${singular}s`): string {
  return `${count} ${count === 1 ? singular : plural}`;
}
