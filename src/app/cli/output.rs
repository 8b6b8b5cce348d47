//! What commands print: JSON as the API gave it, or plain aligned text. No colours, nothing that a terminal would interpret.

use std::io::{self, Write};

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
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Says `text` on standard error: progress, warnings, questions; never part of the result.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
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
        Some(Value::String(text)) => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
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
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(cell(Some(&json!("a\u{1b}[2Jb\nc"))), "a [2Jb c");
    }
}
