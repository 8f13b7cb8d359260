import type { ComponentChildren } from "preact";

export interface Column<Row> {
  readonly title: string;
  readonly show: (row: Row) => ComponentChildren;
  /** Aligned to the right, with figures of equal width. */
  readonly isNumber?: boolean;
}

/** Tables of more columns need more room than half a page has. */
const maxNarrow = 4;

/** A table; where it has too little room each row becomes a card. The first column names the row. */
export function Table<Row>(props: {
  readonly label: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  readonly keyOf: (row: Row) => string;
}) {
  const { label, columns, rows, keyOf } = props;
  // The roles are written out, because a table that is laid out as cards loses them.
  return (
    <div class={columns.length > maxNarrow ? "table wide" : "table"}>
      <table role="table" aria-label={label}>
        <thead role="rowgroup">
          <tr role="row">
            {columns.map(({ title, isNumber }) => (
              <th key={title} role="columnheader" scope="col" class={isNumber === true ? "number" : undefined}>
                {title === "" ? <span class="unseen">Actions</span> : title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map((row) => (
            <tr key={keyOf(row)} role="row">
              {columns.map(({ title, show, isNumber }, at) => {
                const attributes = { class: isNumber === true ? "number" : undefined, "data-label": title };
                return at === 0 ? (
                  <th key={title} role="rowheader" scope="row" {...attributes}>
                    {show(row)}
                  </th>
                ) : (
                  <td key={title} role="cell" {...attributes}>
                    {show(row)}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
