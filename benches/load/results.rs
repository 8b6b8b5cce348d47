//! What a bench found, for programs: with `--json FILE` each result is a line of JSON at the end of FILE, which `benches/charts` draws.
//!
//! | key | what |
//! |---|---|
//! | `bench`, `name` | which bench, and what was measured |
//! | `who` | the program that was measured: `certgate`, or a peer on the same data in the same run |
//! | `value`, `unit` | the result; units that end in `/s` are rates, more is better; `ms` and `s` are times, `MB` memory, less is better |
//! | `limit`, `limit_is` | what it is measured against in the same run, in the same unit, and what that is |
//! | `target` | the ratio of `value` to `limit` that is aimed at: a rate's at least, the others' at most |

use std::{fs::OpenOptions, io::Write, path::PathBuf};

use serde_json::{Map, Value, json};

/// The number behind `name` in this program's arguments.
pub fn number(name: &str) -> Option<u64> {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == name)?;
    Some(arguments.get(at + 1).expect("a number").parse().expect("a number"))
}

/// One result.
pub struct Row<'a> {
    pub name: &'a str,
    pub value: f64,
    pub unit: &'a str,
    /// The limit with its name, and the ratio that is aimed at.
    pub limit: Option<(f64, &'a str, f64)>,
}

/// The results of one bench.
pub struct Results {
    bench: &'static str,
    who: String,
    file: Option<PathBuf>,
}

impl Results {
    /// Where this program's arguments say, for whom they say: `--json FILE`, `--who NAME`.
    pub fn of(bench: &'static str) -> Self {
        let arguments: Vec<String> = std::env::args().collect();
        let option = |name: &str| {
            arguments
                .iter()
                .position(|argument| argument == name)
                .and_then(|at| arguments.get(at + 1))
                .cloned()
        };
        let who = option("--who").unwrap_or_else(|| "certgate".to_owned());
        Self { bench, who, file: option("--json").map(PathBuf::from) }
    }

    /// Adds a result.
    pub fn add(&self, row: &Row<'_>) {
        let Some(path) = &self.file else { return };
        let mut line = Map::from_iter(
            [("bench", json!(self.bench)), ("name", json!(row.name)), ("who", json!(self.who))]
                .map(|(key, value)| (key.to_owned(), value)),
        );
        line.insert("value".to_owned(), json!(row.value));
        line.insert("unit".to_owned(), json!(row.unit));
        if let Some((limit, limit_is, target)) = row.limit {
            line.insert("limit".to_owned(), json!(limit));
            line.insert("limit_is".to_owned(), json!(limit_is));
            line.insert("target".to_owned(), json!(target));
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("the file of --json can be written");
        writeln!(file, "{}", Value::Object(line)).expect("the file of --json can be written");
    }
}
