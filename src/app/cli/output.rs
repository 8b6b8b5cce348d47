//! What commands print: JSON as the API gave it, or plain aligned text. No colours, nothing that a terminal would interpret: names come
//! from requests of strangers, and what is in them is shown as `\u202e`, which JSON reads back.

use std::{
    borrow::Cow,
    io::{self, Write},
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
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| {
            cells.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &cells {
        let padded: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// One `heading: value` per line, values aligned; fields without a value are left out.
pub fn record(value: &Value, fields: &[Field]) -> String {
    let width = fields.iter().map(|(heading, _)| heading.chars().count()).max().unwrap_or(0) + 1;
    let mut text = String::new();
    for (heading, at) in fields {
        let Some(found) = value.pointer(at).filter(|found| !is_nothing(found)) else { continue };
        // Several values stand below one another; PEM keeps its lines.
        let lines: Vec<String> = match found {
            Value::Array(items) => items.iter().map(|item| cell(Some(item))).collect(),
            Value::String(text) if text.contains("-----BEGIN") => text.lines().map(str::to_owned).collect(),
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
