//! What commands print: JSON as the API gave it, or plain aligned text. No colours, nothing that a terminal would interpret: names come
//! from requests of strangers, and what is in them is shown as `\u202e`, which JSON reads back.

use std::{
    borrow::Cow,
    io::{self, IsTerminal as _, Write},
};

use clap::ValueEnum;
use serde_json::Value;

/// The form of what is printed on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, for people.
    #[default]
    Table,
    /// JSON, for programs.
    Json,
}

/// A column or line: its heading, and the JSON pointer of its value.
pub type Field = (&'static str, &'static str);

/// Prints `text` and a line end. A reader that has gone away is no error: `certgate .. | head` must end quietly.
pub fn line(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}", shown(text)).and_then(|()| out.flush());
}

/// Says `text` on standard error: progress, warnings, questions; never part of the result.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", shown(text));
}

/// `text` with everything escaped that a terminal would obey or that would make it look like another text; line ends and tabs stay.
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_unprintable(c) && !matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, unwanted: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&unwanted) {
        return text.into();
    }
    let mut out = String::new();
    for c in text.chars() {
        if unwanted(c) {
            // As in JSON (RFC 8259 §7), with two of them beyond the basic plane.
            out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out.into()
}

/// Control characters, and those of Unicode that turn the direction of what is around them (UAX #9), end a line, or show nothing: a name
/// with one of them looks like another name. The joiners U+200C and U+200D belong to the spelling of some scripts.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Prints a listing `{"items": [..], "next": ..}`.
pub fn listing(format: Format, answer: &Value, columns: &[Field]) {
    match format {
        Format::Json => json(answer),
        Format::Table => {
            let none = Vec::new();
            let items = answer.get("items").and_then(Value::as_array).unwrap_or(&none);
            line(table(items, columns).trim_end());
            if let Some(next) = answer.get("next").filter(|next| !next.is_null()) {
                note(&format!("there is more: --after {}", cell(Some(next))));
            }
        }
    }
}

/// Prints one object.
pub fn object(format: Format, value: &Value, fields: &[Field]) {
    match format {
        Format::Json => json(value),
        Format::Table => line(record(value, fields).trim_end()),
    }
}

/// Prints JSON, indented.
pub fn json(value: &Value) {
    line(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// `rows` under a heading, in columns two spaces apart.
pub fn table(rows: &[Value], columns: &[Field]) -> String {
    let mut cells: Vec<Vec<String>> =
        vec![columns.iter().map(|(heading, _)| (*heading).to_owned()).collect()];
    cells.extend(rows.iter().map(|row| columns.iter().map(|(_, at)| cell(row.pointer(at))).collect()));
    let widths = widths(&cells, columns.len());
    cells.iter().map(|row| joined(row, &widths) + "\n").collect()
}

/// How wide each of the columns is.
fn widths(rows: &[Vec<String>], columns: usize) -> Vec<usize> {
    let of = |column| rows.iter().filter_map(move |row: &Vec<String>| row.get(column));
    (0..columns).map(|column| of(column).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect()
}

/// One line of a table.
fn joined(row: &[String], widths: &[usize]) -> String {
    let padded: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    padded.join("  ").trim_end().to_owned()
}

/// Columns of a terminal that everybody has.
const TERMINAL_WIDTH: usize = 80;

/// `rows` as a table with one line for each, for programs that read lines; on a terminal, where such a line would be broken anywhere, as
/// paragraphs if they are too long for it.
pub fn table_to_read(rows: &[Value], columns: &[Field]) -> String {
    let table = table(rows, columns);
    let fits = table.lines().all(|line| line.chars().count() <= TERMINAL_WIDTH);
    if fits || !io::stdout().is_terminal() { table } else { paragraphs(rows, columns, TERMINAL_WIDTH) }
}

/// `rows` wrapped at `width`, each from the start of a line on, further lines indented: the first columns as in a table, the last one under its
/// heading on a line of its own, if it has a value.
fn paragraphs(rows: &[Value], columns: &[Field], width: usize) -> String {
    let mut text = String::new();
    let Some(((heading, last), first)) = columns.split_last() else { return text };
    let cells_of = |row: &Value| first.iter().map(|(_, at)| cell(row.pointer(at))).collect::<Vec<_>>();
    let all: Vec<_> = rows.iter().map(cells_of).collect();
    let widths = widths(&all, first.len());
    for (row, cells) in rows.iter().zip(&all) {
        wrap(&mut text, &joined(cells, &widths), false, width);
        if let Some(value) = row.pointer(last).filter(|value| !is_nothing(value)) {
            wrap(&mut text, &format!("{}: {}", heading.to_lowercase(), cell(Some(value))), true, width);
        }
    }
    text
}

/// Appends `words` in lines of at most `width`, broken at spaces; a word that is longer has a line to itself.
fn wrap(text: &mut String, words: &str, indented: bool, width: usize) {
    const INDENT: &str = "      ";
    let mut line = if indented { INDENT.to_owned() } else { String::new() };
    for word in words.split_inclusive(' ') {
        let is_begun = !line.trim().is_empty();
        if is_begun && line.chars().count() + word.trim_end().chars().count() > width {
            text.push_str(line.trim_end());
            text.push('\n');
            INDENT.clone_into(&mut line);
        }
        if word != " " || is_begun {
            line.push_str(word);
        }
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// One `heading: value` per line, values aligned; fields without a value are left out.
pub fn record(value: &Value, fields: &[Field]) -> String {
    let width = fields.iter().map(|(heading, _)| heading.chars().count()).max().unwrap_or(0) + 1;
    let mut text = String::new();
    for (heading, at) in fields {
        let Some(found) = value.pointer(at).filter(|found| !is_nothing(found)) else { continue };
        if let Some(pem) = found.as_str().filter(|text| text.contains("-----BEGIN")) {
            // From the start of the line, as those who read it want it.
            text.extend([heading, ":\n", pem.trim_end(), "\n"]);
            continue;
        }
        // Several values stand below one another.
        let lines: Vec<String> = match found {
            Value::Array(items) => items.iter().map(|item| cell(Some(item))).collect(),
            other => vec![cell(Some(other))],
        };
        for (index, line) in lines.iter().enumerate() {
            let heading = if index == 0 { format!("{heading}:") } else { String::new() };
            text.push_str(format!("{heading:<width$} {line}").trim_end());
            text.push('\n');
        }
    }
    text
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// A value as one line of text; what is not there is `-`.
fn cell(value: Option<&Value>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if is_nothing(value) => "-".to_owned(),
        Some(Value::String(text)) => escaped(text, is_unprintable).into_owned(),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(", "),
        Some(Value::Object(map)) => map
            .iter()
            .filter(|(_, value)| !is_nothing(value))
            .map(|(key, value)| format!("{key}={}", cell(Some(value))))
            .collect::<Vec<_>>()
            .join(" "),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [json!({"id": "a", "n": 1}), json!({"id": "länger", "n": null})];
        let text = table(&rows, &[("ID", "/id"), ("N", "/n"), ("GONE", "/gone")]);
        assert_eq!(text, "ID      N  GONE\na       1  -\nlänger  -  -\n");
    }

    #[test]
    fn a_record_leaves_out_what_is_not_known() {
        let value = json!({"id": "dev-1", "user": null, "causes": [{"kind": "manual"}, {"kind": "lost"}]});
        let text = record(&value, &[("Device", "/id"), ("User", "/user"), ("Causes", "/causes")]);
        assert_eq!(text, "Device: dev-1\nCauses: kind=manual\n        kind=lost\n");
    }

    #[test]
    fn pem_can_be_copied() {
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let value = json!({"id": "a", "pem": pem, "state": "on"});
        let text = record(&value, &[("Issuer", "/id"), ("PEM", "/pem"), ("State", "/state")]);
        assert_eq!(text, format!("Issuer: a\nPEM:\n{pem}State:  on\n"));
    }

    #[test]
    fn long_words_are_wrapped_at_spaces_where_there_are_some() {
        let rows = [
            json!({"name": "issuer/root", "result": "pass", "detail": "valid until 2036", "hint": null}),
            json!({"name": "crl/issuing", "result": "warn", "detail": "number 7 is late by half of its life", "hint": "look"}),
            json!({"name": "a", "result": "fail", "detail": "x y", "hint": null}),
            json!({"name": "b", "result": "fail", "detail": "x".repeat(50), "hint": "b c"}),
        ];
        let columns = [("R", "/result"), ("C", "/name"), ("F", "/detail"), ("WHAT TO DO", "/hint")];
        let text = paragraphs(&rows, &columns, 30);
        let long = "x".repeat(50);
        let expected = format!(
            "pass  issuer/root  valid until\n      2036\nwarn  crl/issuing  number 7 is\n      late by half of its life\n      \
             what to do: look\nfail  a            x y\nfail  b\n      {long}\n      what to do: b c\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn control_characters_and_turned_text_do_not_reach_the_terminal() {
        assert_eq!(cell(Some(&json!("a\u{1b}[2Jb\nc"))), "a\\u001b[2Jb\\u000ac");
        // As it is, the first would be read from right to left, and the second look like SN1.
        assert_eq!(cell(Some(&json!("CN=\u{202e}txt.exe"))), "CN=\\u202etxt.exe");
        assert_eq!(cell(Some(&json!("SN\u{200b}1"))), "SN\\u200b1");
        for good in ["Zoë Müller", "可信", "سلام", "نمی\u{200c}خواهم"] {
            assert_eq!(cell(Some(&json!(good))), good);
        }
    }

    #[test]
    fn escaped_json_means_the_same() {
        let value = json!({"subject": "CN=\u{202e}\u{9b}2J\u{e0041}", "lines": "a\tb\nc"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = shown(&text);
        assert!(
            shown.contains("\\u202e\\u009b2J\\udb40\\udc41") && shown.contains("\n  \"subject\""),
            "{shown}"
        );
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }

    #[test]
    fn what_is_escaped_is_counted_as_it_is_shown() {
        let rows = [json!({"id": "\u{202e}"}), json!({"id": "b"})];
        assert_eq!(table(&rows, &[("ID", "/id"), ("N", "/n")]), "ID      N\n\\u202e  -\nb       -\n");
    }
}
