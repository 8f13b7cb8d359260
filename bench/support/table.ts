/** Columns padded to their widest cell, numbers to the right; headed by the keys of the first row. */
export function table(rows: readonly Readonly<Record<string, string | number>>[]): string {
  const keys = Object.keys(rows[0] ?? {});
  const isNumber = keys.map((key) => rows.every((row) => typeof row[key] === "number"));
  const cells = [keys, ...rows.map((row) => keys.map((key) => String(row[key] ?? "")))];
  const widths = keys.map((_, column) => Math.max(...cells.map((line) => line[column]?.length ?? 0)));
  return cells
    .map((line) =>
      line
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          return isNumber[column] === true ? cell.padStart(width) : cell.padEnd(width);
        })
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
