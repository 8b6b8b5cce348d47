//! Reports of several servers side by side, as a Markdown table.

use serde_json::Value;

/// One server's report, as `-o json` printed it.
#[derive(Clone, Debug)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// The report.
    pub report: Value,
}

/// A row for each check that any of the reports has, in the order of the first that has it.
pub fn table(columns: &[Column]) -> String {
    let mut ids: Vec<(&str, &str)> = Vec::new();
    for check in columns.iter().flat_map(|column| checks(&column.report)) {
        let (id, level) = (text(check, "id"), text(check, "level"));
        if !ids.iter().any(|(known, _)| *known == id) {
            ids.push((id, level));
        }
    }
    let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    let rows = ids.into_iter().map(|(id, level)| {
        let verdicts: Vec<_> = columns.iter().map(|column| verdict(column, id)).collect();
        format!("| {id} | {level} | {} |\n", verdicts.join(" | "))
    });
    let rule = "---|".repeat(columns.len() + 2);
    [format!("| check | level | {} |\n|{rule}\n", names.join(" | "))].into_iter().chain(rows).collect()
}

fn checks(report: &Value) -> impl Iterator<Item = &Value> {
    report.get("checks").and_then(Value::as_array).into_iter().flatten()
}

fn verdict<'a>(column: &'a Column, id: &str) -> &'a str {
    checks(&column.report).find(|check| text(check, "id") == id).map_or("", |check| text(check, "verdict"))
}

fn text<'a>(check: &'a Value, field: &str) -> &'a str {
    check.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_check_that_a_report_lacks_is_empty() {
        let column =
            |name: &str, checks: Value| Column { name: name.to_owned(), report: json!({"checks": checks}) };
        let ours = column("ours", json!([{"id": "8894-1-a", "level": "MUST", "verdict": "pass"}]));
        let theirs = column(
            "theirs",
            json!([
                {"id": "8894-1-b", "level": "MAY", "verdict": "n/a"},
                {"id": "8894-1-a", "level": "MUST", "verdict": "fail"},
            ]),
        );
        assert_eq!(
            table(&[ours, theirs]),
            "| check | level | ours | theirs |\n|---|---|---|---|\n\
             | 8894-1-a | MUST | pass | fail |\n| 8894-1-b | MAY |  | n/a |\n"
        );
    }
}
