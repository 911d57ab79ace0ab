//! Rows with aligned columns.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets};

/// The least width of a column that is cut.
const NARROWEST: u16 = 12;

/// How one column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// Left.
    Left,
    /// Right: for numbers.
    Right,
    /// Left, and cut if a line is too wide.
    Cut,
}

/// Lines of aligned columns, the first row as the heading; `width` is that of the terminal, `None` to cut nothing.
pub(super) fn table<const N: usize>(columns: [Column; N], rows: &[[String; N]], width: Option<usize>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_truncation_indicator("…");
    for row in rows {
        let mut row = Row::from(row);
        if width.is_some() {
            row.max_height(1);
        }
        table.add_row(row);
    }
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.try_into().unwrap_or(u16::MAX));
    }
    let widest = table.column_max_content_widths();
    for ((column, kind), widest) in table.column_iter_mut().zip(columns).zip(widest) {
        set_up(column, kind, widest);
    }
    table.trim_fmt()
}

/// Two spaces between columns; only a column that may be cut gets narrower than its widest cell.
fn set_up(column: &mut comfy_table::Column, kind: Column, widest: u16) {
    let gap = if column.index == 0 { 0 } else { 2 };
    column.set_padding((gap, 0));
    column.set_constraint(match kind {
        Column::Left | Column::Right => ColumnConstraint::ContentWidth,
        Column::Cut => ColumnConstraint::LowerBoundary(Width::Fixed(gap + widest.min(NARROWEST))),
    });
    if kind == Column::Right {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// Width of standard output, if it is a terminal.
pub(super) fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [Column::Left, Column::Right, Column::Cut];

    fn rows() -> Vec<[String; 3]> {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        vec![
            row(["NAME", "SIZE", "LICENSE"]),
            row(["a", "7 B", "GPL-2.0-only & MIT & BSD-3-Clause"]),
            row(["bc", "", ""]),
        ]
    }

    #[test]
    fn columns_are_aligned() {
        let text = "NAME  SIZE  LICENSE\na      7 B  GPL-2.0-only & MIT & BSD-3-Clause\nbc";
        assert_eq!(table(COLUMNS, &rows(), None), text);
        assert_eq!(table(COLUMNS, &rows(), Some(200)), text);
    }

    #[test]
    fn a_column_is_as_wide_as_a_terminal_shows_it() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let rows = [row(["NAME", "SIZE", "X"]), row(["日本語", "1 B", "y"])];
        assert_eq!(table(COLUMNS, &rows, None), "NAME    SIZE  X\n日本語   1 B  y");
    }

    #[test]
    fn only_what_may_be_cut_is_and_never_to_nothing() {
        assert_eq!(table(COLUMNS, &rows(), Some(32)), "NAME  SIZE  LICENSE\na      7 B  GPL-2.0-only & MIT …\nbc");
        assert_eq!(table(COLUMNS, &rows(), Some(1)), "NAME  SIZE  LICENSE\na      7 B  GPL-2.0-onl…\nbc");
    }
}
