//! Rows with aligned columns.

/// The least width of a column that is cut.
const NARROWEST: usize = 12;

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
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    shrink(columns, &mut widths, width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(columns).zip(widths).map(|((cell, column), width)| set(cell, column, width));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Makes the columns that may be cut narrower, the widest first, until the line fits.
fn shrink<const N: usize>(columns: [Column; N], widths: &mut [usize; N], width: Option<usize>) {
    let Some(width) = width else { return };
    let gaps = 2 * N.saturating_sub(1);
    for _ in 0..N {
        let excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(width);
        let widest = (0..N).filter(|at| columns[*at] == Column::Cut).max_by_key(|at| widths[*at]);
        let Some(at) = widest.filter(|at| excess > 0 && widths[*at] > NARROWEST) else { return };
        widths[at] = widths[at].saturating_sub(excess).max(NARROWEST);
    }
}

fn set(cell: &str, column: Column, width: usize) -> String {
    match column {
        Column::Right => format!("{cell:>width$}"),
        Column::Cut if cell.chars().count() > width => {
            let kept: String = cell.chars().take(width.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        }
        Column::Left | Column::Cut => format!("{cell:<width$}"),
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
    fn only_what_may_be_cut_is_and_never_to_nothing() {
        assert_eq!(table(COLUMNS, &rows(), Some(32)), "NAME  SIZE  LICENSE\na      7 B  GPL-2.0-only & MIT…\nbc");
        assert_eq!(table(COLUMNS, &rows(), Some(1)), "NAME  SIZE  LICENSE\na      7 B  GPL-2.0-onl…\nbc");
    }
}
