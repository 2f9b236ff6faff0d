/** Tables: rows as a table where there is room, one below the other where there is none. */
import type { ComponentChildren } from "preact";

export interface Column<Row> {
  title: string;
  cell: (row: Row) => ComponentChildren;
  /** Numbers stand right, in figures of one width. */
  number?: boolean;
  /** The cell that names the row. */
  heads?: boolean;
}

interface TableProps<Row> {
  /** What the table is of, for who cannot see it. */
  caption: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  rowKey: (row: Row) => string;
}

// The roles are the elements' own; browsers forget those where a table is not laid out as one.
export function Table<Row>({ caption, columns, rows, rowKey }: TableProps<Row>) {
  return (
    <table class="table" role="table">
      <caption class="visually-hidden">{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map((column) => (
            <th key={column.title} role="columnheader" scope="col" class={column.number ? "number" : undefined}>
              {column.title}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((row) => (
          <tr key={rowKey(row)} role="row">
            {columns.map((column) =>
              column.heads ? (
                <th key={column.title} role="rowheader" scope="row" data-label={column.title}>
                  {column.cell(row)}
                </th>
              ) : (
                <td
                  key={column.title}
                  role="cell"
                  data-label={column.title}
                  class={column.number ? "number" : undefined}
                >
                  {column.cell(row)}
                </td>
              ),
            )}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
