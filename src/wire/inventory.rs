//! Inventories as MDM servers export them: CSV with a header line, or a JSON array of objects, as rows of named texts.
//!
//! What the columns mean is not decided here. A row that cannot be read is reported with its line; the others are read all the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Objects in objects of a JSON export are read this deep.
const MAX_DEPTH: usize = 8;

/// An export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// The names of its columns: of CSV the header line's, of JSON all that occur.
    pub columns: Vec<String>,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its place: the line in a CSV file, the number of the object (from 1) in a JSON array.
    pub line: u64,
    /// Its values by column, white space around them dropped; or why it cannot be read.
    pub cells: Result<BTreeMap<String, String>, String>,
}

/// An export that cannot be read at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// It is not text.
    #[error("it is not UTF-8 text: export it as UTF-8")]
    NotText,
    /// There is nothing in it, not even a header line.
    #[error("it is empty: CSV begins with a line of column names, JSON is an array of objects")]
    Empty,
    /// Two columns have one name.
    #[error("the column {0:?} occurs twice in the header line")]
    ColumnTwice(String),
    /// The header line cannot be read.
    #[error("its header line cannot be read: {0}")]
    Header(String),
    /// The JSON is broken, or not an array.
    #[error("it is no JSON array of objects: {0}")]
    Json(String),
}

impl Inventory {
    /// Reads an export: JSON where it begins with `[` or `{`, else CSV.
    pub fn read(bytes: &[u8]) -> Result<Self, InventoryError> {
        let text = std::str::from_utf8(bytes).map_err(|_| InventoryError::NotText)?;
        // Excel and the Intune admin centre begin their files with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match text.trim_start().chars().next() {
            None => Err(InventoryError::Empty),
            Some('[' | '{') => read_json(text),
            Some(_) => read_csv(text),
        }
    }
}

fn read_csv(text: &str) -> Result<Inventory, InventoryError> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter(text))
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| InventoryError::Header(error.to_string()))?;
    let columns: Vec<String> = header.iter().map(str::to_owned).collect();
    if let Some(twice) = first_twice(&columns) {
        return Err(InventoryError::ColumnTwice(twice));
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        rows.push(match record {
            Ok(record) => Row {
                line: record.position().map_or(0, csv::Position::line),
                cells: Ok(columns.iter().cloned().zip(record.iter().map(str::to_owned)).collect()),
            },
            Err(error) => Row { line: line_of(&error), cells: Err(problem_of(&error)) },
        });
    }
    Ok(Inventory { columns, rows })
}

/// Comma, or what stands in its place: Excel writes semicolons where the comma is the decimal sign.
fn delimiter(text: &str) -> u8 {
    let header = text.lines().next().unwrap_or_default();
    let count = |delimiter: &u8| header.bytes().filter(|byte| byte == delimiter).count();
    // Of equally frequent ones the last wins: the comma.
    b"\t;,".iter().copied().max_by_key(count).unwrap_or(b',')
}

/// The first name that was there before; nameless columns are no one's concern.
fn first_twice(columns: &[String]) -> Option<String> {
    let mut seen = BTreeSet::new();
    columns.iter().find(|name| !name.is_empty() && !seen.insert(*name)).cloned()
}

fn line_of(error: &csv::Error) -> u64 {
    error.position().map_or(0, csv::Position::line)
}

fn problem_of(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} values where the header line names {expected_len} columns")
        }
        _ => error.to_string(),
    }
}

fn read_json(text: &str) -> Result<Inventory, InventoryError> {
    let value: Value = serde_json::from_str(text).map_err(|error| InventoryError::Json(error.to_string()))?;
    let Value::Array(items) = value else {
        // A page of a listing ({"value": [..], "@odata.nextLink": ..}) is not the whole of it.
        let problem = "it is one object; of an API's answers join the arrays of all pages";
        return Err(InventoryError::Json(problem.to_owned()));
    };
    let rows: Vec<Row> = (1..).zip(&items).map(|(line, item)| Row { line, cells: flat(item) }).collect();
    let mut columns: Vec<String> = rows
        .iter()
        .filter_map(|row| row.cells.as_ref().ok())
        .flat_map(|cells| cells.keys().cloned())
        .collect();
    columns.sort_unstable();
    columns.dedup();
    Ok(Inventory { columns, rows })
}

/// The values of an object by name; those of objects inside as `outer.inner`. Arrays have no place in a row.
fn flat(item: &Value) -> Result<BTreeMap<String, String>, String> {
    if !item.is_object() {
        return Err("is not an object".to_owned());
    }
    let mut cells = BTreeMap::new();
    flatten("", item, MAX_DEPTH, &mut cells);
    Ok(cells)
}

fn flatten(name: &str, value: &Value, depth: usize, cells: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) if depth > 0 => {
            for (key, value) in members {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(&name, value, depth - 1, cells);
            }
        }
        Value::String(text) => drop(cells.insert(name.to_owned(), text.trim().to_owned())),
        Value::Null => drop(cells.insert(name.to_owned(), String::new())),
        Value::Bool(_) | Value::Number(_) => drop(cells.insert(name.to_owned(), value.to_string())),
        Value::Array(_) | Value::Object(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Inventory {
        Inventory::read(text.as_bytes()).unwrap()
    }

    fn cell<'a>(inventory: &'a Inventory, row: usize, column: &str) -> &'a str {
        &inventory.rows[row].cells.as_ref().unwrap()[column]
    }

    #[test]
    fn csv_is_read_by_its_header_line_whatever_separates_the_values() {
        for text in [
            "Device name,Serial number\n\"Ada's, \"\"new\"\" Mac\", C02X \n",
            "\u{feff}Device name,Serial number\r\n\"Ada's, \"\"new\"\" Mac\",C02X\r\n",
            "Device name;Serial number\n\"Ada's, \"\"new\"\" Mac\";C02X\n",
            "Device name\tSerial number\n\"Ada's, \"\"new\"\" Mac\"\tC02X",
        ] {
            let inventory = read(text);
            assert_eq!(inventory.columns, ["Device name", "Serial number"]);
            assert_eq!(cell(&inventory, 0, "Device name"), "Ada's, \"new\" Mac");
            assert_eq!(cell(&inventory, 0, "Serial number"), "C02X");
        }
    }

    #[test]
    fn a_row_that_cannot_be_read_has_its_line_and_leaves_the_others() {
        let inventory = read("name,serial\n\"two\nlines\",A\nonly one\nlast,B\n");
        let lines: Vec<u64> = inventory.rows.iter().map(|row| row.line).collect();
        assert_eq!(lines, [2, 4, 5]);
        let problem = inventory.rows[1].cells.as_ref().unwrap_err();
        assert_eq!(problem, "has 1 values where the header line names 2 columns");
        assert_eq!(cell(&inventory, 2, "serial"), "B");
    }

    #[test]
    fn json_objects_are_flattened() {
        let inventory = read(
            r#"[{"id": 7, "hardware": {"serialNumber": " C02X ", "model": null}, "managed": true, "apps": [1]}, "x"]"#,
        );
        assert_eq!(inventory.columns, ["hardware.model", "hardware.serialNumber", "id", "managed"]);
        assert_eq!(cell(&inventory, 0, "hardware.serialNumber"), "C02X");
        assert_eq!((cell(&inventory, 0, "id"), cell(&inventory, 0, "hardware.model")), ("7", ""));
        assert_eq!(inventory.rows[1], Row { line: 2, cells: Err("is not an object".to_owned()) });
    }

    #[test]
    fn what_is_no_export_is_refused_with_a_reason() {
        for (bytes, reason) in [
            (&b""[..], "it is empty"),
            (b" \n", "it is empty"),
            (b"\xff\xfea\0", "not UTF-8"),
            (b"a,b,a\n", "\"a\" occurs twice"),
            (b"[{]", "no JSON array"),
            (b"{\"value\": [], \"@odata.nextLink\": \"\"}", "all pages"),
        ] {
            let refused = Inventory::read(bytes).unwrap_err().to_string();
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn an_export_without_devices_has_no_rows() {
        assert_eq!(read("name,serial\n").rows, []);
        assert_eq!(read("[]").rows, []);
    }
}
