//! Inventories as MDM servers export them: CSV with a header line, or a JSON array of objects, as rows of named texts.
//!
//! What the columns mean is not decided here. A row that cannot be read is reported with its line; the others are read all the same.
//!
//! Of an export the text and the names of the columns are kept, and one row at a time: an export of 64 MiB may have thirty million cells.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Objects in objects of a JSON export are read this deep.
const MAX_DEPTH: usize = 8;

/// Longest name of a value inside objects; no export has such names, but every one of its values would carry it.
const MAX_NAME: usize = 256;

/// Most columns of a JSON export; one where every object has names of its own is no table.
const MAX_COLUMNS: usize = 10_000;

/// An export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory<'a> {
    /// The names of its columns: of CSV the header line's, of JSON all that occur.
    pub columns: Vec<String>,
    /// How many rows it has.
    pub rows: u64,
    form: Form,
    text: &'a str,
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Csv,
    Json,
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
    /// Its objects have too many different names.
    #[error("its objects have more than {MAX_COLUMNS} different names: it is no table")]
    TooManyColumns,
}

impl<'a> Inventory<'a> {
    /// Reads an export: JSON where it begins with `[` or `{`, else CSV.
    pub fn read(bytes: &'a [u8]) -> Result<Self, InventoryError> {
        let text = std::str::from_utf8(bytes).map_err(|_| InventoryError::NotText)?;
        // Excel and the Intune admin centre begin their files with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rows = 0;
        let (form, columns) = match text.trim_start().chars().next() {
            None => return Err(InventoryError::Empty),
            Some('[' | '{') => {
                let mut columns = BTreeSet::new();
                read_json(text, &mut |row| {
                    rows += 1;
                    if columns.len() <= MAX_COLUMNS {
                        columns.extend(row.cells.into_iter().flat_map(BTreeMap::into_keys));
                    }
                })?;
                if columns.len() > MAX_COLUMNS {
                    return Err(InventoryError::TooManyColumns);
                }
                (Form::Json, columns.into_iter().collect())
            }
            Some(_) => (Form::Csv, read_csv(text, &mut |_| rows += 1)?),
        };
        Ok(Self { columns, rows, form, text })
    }

    /// Visits the rows, in their order.
    pub fn each_row(&self, visit: &mut dyn FnMut(Row)) {
        // It was read once without an error, and is the same text.
        match self.form {
            Form::Csv => drop(read_csv(self.text, visit)),
            Form::Json => drop(read_json(self.text, visit)),
        }
    }
}

/// Gives the names of the columns.
fn read_csv(text: &str, visit: &mut dyn FnMut(Row)) -> Result<Vec<String>, InventoryError> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter(text))
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| InventoryError::Header(error.to_string()))?;
    let columns: Vec<String> = header.iter().map(str::to_owned).collect();
    if let Some(twice) = first_twice(&columns) {
        return Err(InventoryError::ColumnTwice(twice));
    }
    for record in reader.records() {
        visit(match record {
            Ok(record) => Row {
                line: record.position().map_or(0, csv::Position::line),
                cells: Ok(columns.iter().cloned().zip(record.iter().map(str::to_owned)).collect()),
            },
            Err(error) => Row { line: line_of(&error), cells: Err(problem_of(&error)) },
        });
    }
    Ok(columns)
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

fn read_json(text: &str, visit: &mut dyn FnMut(Row)) -> Result<(), InventoryError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let read = json.deserialize_any(Rows(visit)).and_then(|()| json.end());
    read.map_err(|error| InventoryError::Json(error.to_string()))
}

/// The array.
struct Rows<'a>(&'a mut dyn FnMut(Row));

impl<'de> Visitor<'de> for Rows<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut line = 0;
        let mut cells = BTreeMap::new();
        while let Some(is_object) = items.next_element_seed(Cell::outermost(&mut cells))? {
            line += 1;
            let cells = std::mem::take(&mut cells);
            let cells = if is_object { Ok(cells) } else { Err("is not an object".to_owned()) };
            (self.0)(Row { line, cells });
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        // A page of a listing ({"value": [..], "@odata.nextLink": ..}) is not the whole of it.
        Err(A::Error::custom("it is one object; of an API's answers join the arrays of all pages"))
    }
}

/// A value by its name; those of objects inside as `outer.inner`. Arrays have no place in a row.
///
/// Gives whether it was an object.
struct Cell<'a> {
    name: String,
    depth: usize,
    cells: &'a mut BTreeMap<String, String>,
}

impl<'a> Cell<'a> {
    fn outermost(cells: &'a mut BTreeMap<String, String>) -> Self {
        Self { name: String::new(), depth: MAX_DEPTH, cells }
    }

    #[expect(clippy::unnecessary_wraps, reason = "what a visitor gives")]
    fn is<E>(self, text: String) -> Result<bool, E> {
        self.cells.insert(self.name, text);
        Ok(false)
    }
}

impl<'de> DeserializeSeed<'de> for Cell<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<bool, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Cell<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        while let Some(key) = members.next_key::<String>()? {
            let name = if self.name.is_empty() { key } else { format!("{}.{key}", self.name) };
            if self.depth == 0 || name.len() > MAX_NAME {
                members.next_value::<IgnoredAny>()?;
            } else {
                members.next_value_seed(Cell { name, depth: self.depth - 1, cells: &mut *self.cells })?;
            }
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }

    fn visit_str<E>(self, text: &str) -> Result<bool, E> {
        self.is(text.trim().to_owned())
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        self.is(String::new())
    }

    fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
        self.is(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<bool, E> {
        self.is(value.to_string())
    }

    fn visit_i64<E>(self, value: i64) -> Result<bool, E> {
        self.is(value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<bool, E> {
        self.is(serde_json::Value::from(value).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<String>, Vec<Row>) {
        let inventory = Inventory::read(text.as_bytes()).unwrap();
        let mut rows = Vec::new();
        inventory.each_row(&mut |row| rows.push(row));
        assert_eq!(inventory.rows, rows.len() as u64);
        (inventory.columns, rows)
    }

    fn cell<'a>(row: &'a Row, column: &str) -> &'a str {
        &row.cells.as_ref().unwrap()[column]
    }

    #[test]
    fn csv_is_read_by_its_header_line_whatever_separates_the_values() {
        for text in [
            "Device name,Serial number\n\"Ada's, \"\"new\"\" Mac\", C02X \n",
            "\u{feff}Device name,Serial number\r\n\"Ada's, \"\"new\"\" Mac\",C02X\r\n",
            "Device name;Serial number\n\"Ada's, \"\"new\"\" Mac\";C02X\n",
            "Device name\tSerial number\n\"Ada's, \"\"new\"\" Mac\"\tC02X",
        ] {
            let (columns, rows) = read(text);
            assert_eq!(columns, ["Device name", "Serial number"]);
            assert_eq!(cell(&rows[0], "Device name"), "Ada's, \"new\" Mac");
            assert_eq!(cell(&rows[0], "Serial number"), "C02X");
        }
    }

    #[test]
    fn a_row_that_cannot_be_read_has_its_line_and_leaves_the_others() {
        let (_, rows) = read("name,serial\n\"two\nlines\",A\nonly one\nlast,B\n");
        let lines: Vec<u64> = rows.iter().map(|row| row.line).collect();
        assert_eq!(lines, [2, 4, 5]);
        let problem = rows[1].cells.as_ref().unwrap_err();
        assert_eq!(problem, "has 1 values where the header line names 2 columns");
        assert_eq!(cell(&rows[2], "serial"), "B");
    }

    #[test]
    fn json_objects_are_flattened() {
        let (columns, rows) = read(
            r#"[{"id": 7, "hardware": {"serialNumber": " C02X ", "model": null}, "managed": true, "apps": [1]}, "x"]"#,
        );
        assert_eq!(columns, ["hardware.model", "hardware.serialNumber", "id", "managed"]);
        assert_eq!(cell(&rows[0], "hardware.serialNumber"), "C02X");
        assert_eq!((cell(&rows[0], "id"), cell(&rows[0], "hardware.model")), ("7", ""));
        assert_eq!(rows[1], Row { line: 2, cells: Err("is not an object".to_owned()) });
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
        assert_eq!(read("name,serial\n").1, []);
        assert_eq!(read("[]").1, []);
    }

    #[test]
    fn a_long_name_is_not_repeated_for_every_value_below_it() {
        let values =
            |name: &str| (0..2000).fold(String::new(), |text, n| text + &format!(r#","{name}{n}": {n}"#));
        let long = "x".repeat(100_000);
        let (columns, rows) =
            read(&format!(r#"[{{"serial": "A"{}, "{long}": {{"a": 1{}}}}}]"#, values("b"), values("c")));
        assert_eq!((columns.len(), rows[0].cells.as_ref().unwrap().len()), (2001, 2001));
        let many = (0..=MAX_COLUMNS).fold(String::new(), |text, n| text + &format!(r#","{n}": 1"#));
        let refused = Inventory::read(format!(r#"[{{"serial": "A"{many}}}]"#).as_bytes()).unwrap_err();
        assert_eq!(refused, InventoryError::TooManyColumns);
    }

    #[test]
    fn objects_and_arrays_below_what_is_read_are_passed_over() {
        let deep = format!("{}1{}", r#"{"a": "#.repeat(20), "}".repeat(20));
        let (_, rows) = read(&format!(r#"[{{"serial": "A", "in": {deep}, "list": [[{deep}]]}}, [1]]"#));
        assert_eq!(rows[0].cells.as_ref().unwrap().keys().collect::<Vec<_>>(), ["serial"]);
        assert_eq!(rows[1].cells, Err("is not an object".to_owned()));
        // Far deeper than a stack would bear.
        let deepest = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(&deepest).1[0].cells, Err("is not an object".to_owned()));
    }
}
