//! The house rule, checked: no layer imports one above it, adapters are named only by `app`, files stay readable; the README
//! names what is counted and recorded.
//!
//! `types <- wire <- domain <- ports <- service <- http <- app`; `adapters` stand beside `service`: they implement `ports`.
//! The check reads every `crate::...` path in `src/`, in `use` lines (nested groups too) and in expressions.

#![expect(clippy::expect_used, reason = "a source tree that cannot be read is a failed test")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Longest file; a longer one becomes a folder of the same name.
const MAX_LINES: usize = 600;

/// Lowest first. A layer may import itself and what comes before it.
const LAYERS: [&str; 7] = ["types", "wire", "domain", "ports", "service", "http", "app"];

/// Up to where the adapters may look.
const ADAPTERS_SEE: &str = "ports";

#[test]
fn no_file_imports_upwards() {
    let mut violations = Vec::new();
    for (path, source) in sources() {
        violations.extend(upward_imports(&path, &source));
    }
    assert!(violations.is_empty(), "upward imports:\n{}", violations.join("\n"));
}

#[test]
fn files_stay_under_600_lines() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(path, source)| (path, source.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "split these into a folder of the same name: {long:?}");
}

/// What an operator looks for in a log or on a dashboard is to be found in the README, and what is there exists.
#[test]
fn the_readme_names_every_metric_and_every_fact_of_the_audit_record() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("the README");
    let services: Vec<_> = sources().into_iter().filter(|(path, _)| layer_of(path) == "service").collect();
    let texts: BTreeSet<&str> = services.iter().flat_map(|(_, source)| source.split('"')).collect();
    let metrics: BTreeSet<_> = texts.iter().copied().filter(|text| text.starts_with("certgate_")).collect();
    assert!(metrics.len() > 40, "{metrics:?}");
    let of_rows = |heading: &str| -> BTreeSet<&str> {
        let section = readme.split(heading).nth(1).and_then(|rest| rest.split("</details>").next());
        let rows = section.expect("a section of the README").lines().filter(|line| line.starts_with("| "));
        rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect()
    };
    let shown = of_rows("All metrics of");
    let shown = shown.into_iter().filter(|name| name.starts_with("certgate_")).collect::<BTreeSet<_>>();
    assert_eq!(shown, metrics);
    let facts = of_rows("All facts of the audit record");
    let objects: BTreeSet<_> =
        facts.iter().filter_map(|fact| fact.split_once('.')).map(|(object, _)| object).collect();
    let is_fact = |text: &&str| {
        let parts = text.split_once('.').filter(|(object, _)| objects.contains(object));
        parts.is_some_and(|(_, act)| {
            act.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && !act.is_empty()
        })
    };
    assert_eq!(facts, texts.iter().copied().filter(is_fact).collect());
}

#[test]
fn the_check_reads_the_whole_house() {
    let layers: BTreeSet<_> = sources().iter().map(|(path, _)| layer_of(path).to_owned()).collect();
    for layer in LAYERS.into_iter().chain(["adapters"]) {
        assert!(layers.contains(layer), "no file of {layer} was read");
    }
}

#[test]
fn an_upward_import_is_found() {
    let bad = "use crate::service::Gateway;\n";
    assert_eq!(upward_imports(Path::new("domain/enrol.rs"), bad).len(), 1);
}

#[test]
fn an_upward_import_in_a_group_is_found() {
    let bad = "use crate::{\n    types::{Secret, Timestamp},\n    http::{api::Router},\n};\n";
    let found = upward_imports(Path::new("service/scep.rs"), bad);
    assert_eq!(found, ["service/scep.rs:1: service must not use crate::http"]);
}

#[test]
fn an_upward_path_in_an_expression_is_found() {
    let bad = "fn f() {\n    crate::app::main();\n}\n";
    assert_eq!(
        upward_imports(Path::new("http/ops.rs"), bad),
        ["http/ops.rs:2: http must not use crate::app"]
    );
}

#[test]
fn naming_an_adapter_outside_app_is_found() {
    let bad = "use crate::adapters::store::RedbStore;\n";
    for layer in ["domain/x.rs", "service/x.rs", "http/x.rs"] {
        assert_eq!(upward_imports(Path::new(layer), bad).len(), 1, "{layer}");
    }
    assert!(upward_imports(Path::new("app/serve.rs"), bad).is_empty());
    assert!(upward_imports(Path::new("adapters/keys/tls.rs"), bad).is_empty());
}

#[test]
fn an_adapter_that_uses_a_service_is_found() {
    assert_eq!(upward_imports(Path::new("adapters/keys/mod.rs"), "use crate::service::Ports;").len(), 1);
}

#[test]
fn downward_imports_comments_and_texts_are_fine() {
    let good = "//! See [`crate::app`].\nuse crate::{ports::Store, types::Timestamp};\n// crate::http is above\n\
                const A: &str = \"crate::http\";\n";
    assert!(upward_imports(Path::new("service/scep.rs"), good).is_empty());
}

/// Every `crate::` path in `source` that `path` must not name, as `file:line: what`.
fn upward_imports(path: &Path, source: &str) -> Vec<String> {
    let layer = layer_of(path);
    // lib.rs and main.rs name everything: they are the map and the door.
    if layer.is_empty() {
        return Vec::new();
    }
    let code = without_comments_and_texts(source);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let line = code[..at].matches('\n').count() + 1;
        for target in targets(&code[at + "crate::".len()..]) {
            if !allowed(layer, target) {
                found.push(format!("{}:{line}: {layer} must not use crate::{target}", path.display()));
            }
        }
    }
    found
}

/// The layer of a file, by its path below `src/`; empty for files at the top.
fn layer_of(path: &Path) -> &str {
    let mut parts = path.iter().filter_map(|part| part.to_str());
    let first = parts.next().unwrap_or_default();
    match (first, parts.next()) {
        (_, Some(_)) => first,
        (file, None) => file.strip_suffix(".rs").filter(|name| LAYERS.contains(name)).unwrap_or_default(),
    }
}

fn allowed(layer: &str, target: &str) -> bool {
    let rank = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    match (layer, target) {
        ("app", _) => true,
        (_, "adapters") => layer == "adapters",
        ("adapters", _) => rank(target).is_none_or(|target| Some(target) <= rank(ADAPTERS_SEE)),
        // What is no layer is a macro or a re-export of the crate's root.
        _ => rank(target).is_none_or(|target| Some(target) <= rank(layer)),
    }
}

/// The first segments that follow `crate::`: one name, or those of a group `{a::b, c::{d, e}}`.
fn targets(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else { return vec![identifier(rest)] };
    let mut names = Vec::new();
    let mut depth = 0_usize;
    let mut expects_name = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects_name = true,
            c if depth == 0 && expects_name && !c.is_whitespace() => {
                names.push(identifier(&group[at..]));
                expects_name = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// `source` with line comments and the contents of texts blanked out, lines kept. Block comments are not used in this house.
fn without_comments_and_texts(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    for line in source.lines() {
        let mut in_text = false;
        let mut previous = ' ';
        for (at, c) in line.char_indices() {
            if !in_text && line[at..].starts_with("//") {
                break;
            }
            if c == '"' && previous != '\\' && previous != '\'' {
                in_text = !in_text;
            }
            code.push(if in_text { ' ' } else { c });
            previous = c;
        }
        code.push('\n');
    }
    code
}

/// Every Rust file below `src/`, by its path there.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(&path).expect("sources are UTF-8");
                files.push((path.strip_prefix(&root).expect("below src").to_owned(), source));
            }
        }
    }
    files.sort();
    files
}
