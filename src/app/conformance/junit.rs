//! The report as JUnit XML, which build servers read.

use super::{Level, Outcome, Remark, Report};

/// The report of the suite `name` at `url`. A MUST that failed is a failure, as it is for the exit code; what else is to be told stands beside
/// its test.
pub fn junit(name: &str, url: &str, report: &Report) -> String {
    let failures = report.failed(Level::Must);
    let skipped = report.count("skipped") + report.count("n/a");
    let cases: String = report.outcomes.iter().map(|outcome| case(name, outcome)).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{}\" \
         skipped=\"{skipped}\">\n  <properties><property name=\"url\" value=\"{}\"/></properties>\n{cases}{}</testsuite>\n",
        escaped(name),
        report.outcomes.len(),
        usize::from(report.given_up.is_some()),
        escaped(url),
        report
            .given_up
            .as_ref()
            .map(|why| format!("  <system-err>{}</system-err>\n", escaped(why)))
            .unwrap_or_default(),
    )
}

fn case(suite: &str, outcome: &Outcome) -> String {
    let about = &outcome.about;
    let inside = match &outcome.checked {
        Ok(()) => {
            let seen = outcome.seen.as_ref();
            seen.map(|seen| format!("<system-out>{}</system-out>", escaped(seen))).unwrap_or_default()
        }
        Err(Remark::Failed(seen)) if about.level == Level::Must => {
            format!("<failure type=\"{}\" message=\"{}\"/>", about.level, escaped(seen))
        }
        Err(Remark::Failed(seen) | Remark::Warning(seen)) => {
            format!("<system-out>{} ({}): {}</system-out>", outcome.verdict(), about.level, escaped(seen))
        }
        Err(Remark::Skipped(why) | Remark::NotApplicable(why)) => {
            format!("<skipped message=\"{}\"/>", escaped(why))
        }
    };
    let name = escaped(&format!("{}: {}", about.id, about.claim));
    format!(
        "  <testcase classname=\"{}.{}\" name=\"{name}\">{inside}</testcase>\n",
        escaped(suite),
        about.level
    )
}

/// Fit for an attribute or an element: XML 1.0 has no control characters, not even escaped.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::conformance::About;

    fn outcome(level: Level, checked: Result<(), Remark>) -> Outcome {
        Outcome { about: About { id: "8894-4.1-x", level, claim: "it <holds>" }, checked, seen: None }
    }

    #[test]
    fn only_a_must_that_failed_is_a_failure() {
        let failed = || Err(Remark::failed("saw \"a\" & \u{1b}b"));
        let outcomes = vec![
            outcome(Level::Must, Ok(())),
            outcome(Level::Must, failed()),
            outcome(Level::Should, failed()),
            outcome(Level::May, Err(Remark::not_applicable("not offered"))),
        ];
        let xml = junit("scep", "http://x/?a&b", &Report { outcomes, given_up: None });
        assert!(xml.contains("tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"1\""), "{xml}");
        assert!(xml.contains("<failure type=\"MUST\" message=\"saw &quot;a&quot; &amp;  b\"/>"), "{xml}");
        assert!(xml.contains("<system-out>fail (SHOULD): "), "{xml}");
        assert!(
            xml.contains("<skipped message=\"not offered\"/>") && xml.contains("it &lt;holds&gt;"),
            "{xml}"
        );
    }
}
