//! Aligned text tables, coloured only for people.

use std::io::IsTerminal;

/// How a cell is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Bad,
    Doubtful,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    pub text: String,
    pub tone: Tone,
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, tone: Tone::Plain }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        text.to_owned().into()
    }
}

impl Cell {
    pub fn toned(text: impl Into<String>, tone: Tone) -> Cell {
        Cell { text: text.into(), tone }
    }

    /// Values side by side; `-` for none.
    pub fn list<T: ToString>(values: impl IntoIterator<Item = T>) -> Cell {
        let words: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        if words.is_empty() { "-".into() } else { words.join(",").into() }
    }
}

/// A headline and rows of as many cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub headline: Vec<&'static str>,
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new(headline: &[&'static str]) -> Table {
        Table { headline: headline.to_vec(), rows: Vec::new() }
    }

    /// How wide each column is.
    pub fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headline.iter().map(|title| width(title)).collect();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(width(&cell.text));
            }
        }
        widths
    }

    /// Columns three spaces apart, no spaces at the ends of lines.
    pub fn render(&self, colour: bool) -> String {
        let widths = self.widths();
        let titles = self.headline.iter().map(|title| ((*title).to_owned(), width(title)));
        line(titles, &widths) + &self.rows_as_wide_as(&widths, colour)
    }

    /// The rows alone, below others of these widths.
    pub fn rows_as_wide_as(&self, widths: &[usize], colour: bool) -> String {
        let row = |row: &Vec<Cell>| line(row.iter().map(|cell| (paint(cell, colour), width(&cell.text))), widths);
        self.rows.iter().map(row).collect()
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Texts and how long each is seen to be.
fn line(cells: impl Iterator<Item = (String, usize)>, widths: &[usize]) -> String {
    let mut line = String::new();
    for ((text, length), column) in cells.zip(widths) {
        line.push_str(&text);
        line.extend(std::iter::repeat_n(' ', column.saturating_sub(length) + 3));
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

/// The text of a cell, in colour where that is wanted.
pub fn paint(cell: &Cell, colour: bool) -> String {
    let code = match cell.tone {
        _ if !colour => return cell.text.clone(),
        Tone::Plain => return cell.text.clone(),
        Tone::Good => 32,
        Tone::Bad => 31,
        Tone::Doubtful => 33,
    };
    format!("\x1b[{code}m{}\x1b[0m", cell.text)
}

/// Whether standard output is a terminal that wants colour (see no-color.org).
pub fn wants_colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&["NAME", "READY", "REASON"]);
        table.rows.push(vec!["rv-07".into(), Cell::toned("True", Tone::Good), "".into()]);
        table.rows.push(vec!["ü".into(), Cell::toned("False", Tone::Bad), "TunnelDown".into()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_lines_end_with_text() {
        assert_eq!(sample().render(false), "NAME    READY   REASON\nrv-07   True\nü       False   TunnelDown\n");
    }

    #[test]
    fn colour_changes_no_alignment() {
        let (plain, coloured) = (sample().render(false), sample().render(true));
        let stripped = ["\x1b[31m", "\x1b[32m", "\x1b[0m"].iter().fold(coloured.clone(), |t, code| t.replace(code, ""));
        assert_ne!(plain, coloured);
        assert_eq!(plain, stripped);
    }
}
