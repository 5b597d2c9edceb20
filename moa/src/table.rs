//! Tables of the commands. On a terminal a table has the columns that matter most, and text is broken so that it fits; with `--wide`,
//! and where no terminal reads it, it has every column, and each row is one line.

use crate::output::{print_json, print_line};
use crate::settings::ListOutput;
use comfy_table::{ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle};
use console::Term;
use serde_json::Value;

/// A rule above, below, and under the heads.
const TABLE_RULES: TableStyle = TableStyle::new()
    .top_border(rule('─'))
    .header_separator(rule('═'))
    .bottom_border(rule('─'));
/// Blanks around a cell's content, and before the next one.
const COLUMN_PADDING_CHARS: u16 = 3;
/// Characters that are left for each column whose text is broken.
const MIN_TEXT_CHARS: u16 = 12;
/// Characters of a time up to its second.
const SECONDS_CHARS: usize = "2026-01-01T10:00:00".len();

const fn rule(character: char) -> LineStyle {
    LineStyle::none().fill(character).junction(character)
}

/// A column: its head, the field of a row that is in it, and where it shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    head: &'static str,
    field: &'static str,
    shows: Shows,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    Always,
    OnlyWide,
    OnlyFitted,
}

/// A column of every table.
pub(crate) const fn column(head: &'static str, field: &'static str) -> Column {
    Column {
        head,
        field,
        shows: Shows::Always,
    }
}

/// A column that a terminal shows only with `--wide`.
pub(crate) const fn wide(head: &'static str, field: &'static str) -> Column {
    Column {
        head,
        field,
        shows: Shows::OnlyWide,
    }
}

/// A column that stands for others where these do not show.
pub(crate) const fn fitted(head: &'static str, field: &'static str) -> Column {
    Column {
        head,
        field,
        shows: Shows::OnlyFitted,
    }
}

/// The rows of a list.
pub(crate) fn rows(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A value as a cell or a sentence shows it.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// Prints `list` as a table.
pub(crate) fn print(columns: &[Column], list: &Value, output: ListOutput) {
    let width = Term::stdout()
        .size_checked()
        .map(|(_, width)| width)
        .filter(|_| !output.wide);
    print_line!("{}", of(columns, list, width));
}

/// Prints `data` as JSON where that is asked for, else its `list` as a table, and what `rest` prints below.
pub(crate) fn print_list(
    columns: &[Column],
    data: &Value,
    output: ListOutput,
    rest: impl FnOnce(&Value),
) -> anyhow::Result<()> {
    if output.json {
        return print_json(data);
    }
    print(columns, &data["list"], output);
    rest(data);
    Ok(())
}

/// Says where the next page begins, if there is one.
pub(crate) fn print_cursor(data: &Value) {
    if let Some(cursor) = data["nextCursor"].as_str() {
        print_line!("There are more: --cursor {cursor}");
    }
}

/// Fitted into `width`, else with every column.
fn of(columns: &[Column], list: &Value, width: Option<u16>) -> Table {
    let hidden = if width.is_some() {
        Shows::OnlyWide
    } else {
        Shows::OnlyFitted
    };
    let columns: Vec<_> = columns
        .iter()
        .filter(|column| column.shows != hidden)
        .collect();
    let mut table = Table::new();
    table
        .load_style(TABLE_RULES)
        .set_header(columns.iter().map(|column| column.head));
    for row in rows(list) {
        let cell = |column: &&Column| text(&row[column.field]);
        match width {
            Some(_) => table.add_row(columns.iter().map(cell).map(without_fraction)),
            None => table.add_row(columns.iter().map(cell)),
        };
    }
    if let Some(width) = width {
        fit(&mut table, width);
    }
    table
}

/// A time without the fraction of its second; anything else as it is.
fn without_fraction(text: String) -> String {
    let is_time = |text: &str| {
        text.as_bytes().get(10) == Some(&b'T')
            && text[11..].starts_with(|c: char| c.is_ascii_digit())
    };
    match text.get(..SECONDS_CHARS).zip(text.get(SECONDS_CHARS..)) {
        Some((seconds, rest)) if is_time(seconds) && rest.starts_with('.') => {
            let zone = rest[1..].trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{seconds}{zone}")
        }
        _ => text,
    }
}

/// Breaks the text of the widest columns, so that the table is at most `width` wide; the others stay whole.
fn fit(table: &mut Table, width: u16) {
    let widths = table.column_max_content_widths();
    let columns = u16::try_from(widths.len()).unwrap_or(u16::MAX);
    // The last has nothing after it.
    let mut room = width
        .saturating_add(1)
        .saturating_sub(columns.saturating_mul(COLUMN_PADDING_CHARS));
    if widths.iter().copied().fold(0, u16::saturating_add) <= room {
        return;
    }
    table
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    let mut narrowest_first: Vec<_> = widths.into_iter().enumerate().collect();
    narrowest_first.sort_by_key(|(_, width)| *width);
    for ((at, content), others) in narrowest_first.into_iter().zip((0..columns).rev()) {
        if content.saturating_add(others.saturating_mul(MIN_TEXT_CHARS)) > room {
            break;
        }
        room -= content;
        table.column_mut(at).into_iter().for_each(|column| {
            column.set_constraint(ColumnConstraint::ContentWidth);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    const ID: &str = "01a20688-aca6-71c1-9950-dac7abfabb63";
    const COLUMNS: [Column; 4] = [
        column("WHAT", "what"),
        column("ID", "id"),
        wide("MORE", "more"),
        column("AT", "at"),
    ];

    fn lines(width: Option<u16>) -> Vec<String> {
        let what =
            "amount 600, expiresAt 2026-11-23T04:02:30.118257Z, userId ann, and so on and on";
        let row = json!({"what": what, "id": ID, "more": 7, "at": "2026-11-22T18:00:00.115211Z"});
        of(&COLUMNS, &json!([row]), width)
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    #[rstest]
    #[case::there_is_room(200, 5)]
    #[case::it_just_fits(143, 5)]
    #[case::broken_once(142, 6)]
    #[case::broken_often(80, 10)]
    fn the_widest_column_gives_way(#[case] width: u16, #[case] expected: usize) {
        let lines = lines(Some(width));
        assert_eq!(lines.len(), expected, "{lines:#?}");
        assert!(
            lines
                .iter()
                .any(|line| line.contains(ID) && line.ends_with("2026-11-22T18:00:00Z")),
            "{lines:#?}"
        );
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() <= usize::from(width)),
            "{lines:#?}"
        );
    }

    #[test]
    fn a_narrow_terminal_breaks_everything_and_is_not_exceeded() {
        for width in 20..80 {
            let lines = lines(Some(width));
            assert!(
                lines
                    .iter()
                    .all(|line| line.chars().count() <= usize::from(width)),
                "{width}: {lines:#?}"
            );
        }
    }

    #[test]
    fn what_no_terminal_reads_has_every_column_and_one_line_for_each_row() {
        let lines = lines(None);
        assert_eq!(lines.len(), 5, "{lines:#?}");
        assert!(
            lines[1].contains("MORE") && lines[3].ends_with("2026-11-22T18:00:00.115211Z"),
            "{lines:#?}"
        );
    }
}
