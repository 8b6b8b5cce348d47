//! The summary: a table for people, JSON with stable names for programs, and the exit code.

use serde_json::{Value, json};

use super::{
    Challenges, Options,
    fleet::Driven,
    tally::{Counts, Step, StepCounts},
};
use crate::app::{
    cli::output::{self, Field, Format},
    failure::{Failure, Outcome},
};

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) options: Options,
    pub(super) tally: Counts,
    pub(super) driven: Driven,
    /// Somebody stopped it.
    pub(super) interrupted: bool,
    /// How many devices were registered on the local gateway.
    pub(super) registered: u32,
    /// How many of them are still in service.
    pub(super) left: u32,
}

const FLEET: &[Field] = &[
    ("Server", "/server"),
    ("Devices", "/told/devices"),
    ("Time", "/told/time"),
    ("Keys", "/told/keys"),
    ("On the gateway", "/told/gateway"),
];

const STEPS: &[Field] = &[
    ("STEP", "/step"),
    ("DONE", "/done"),
    ("FAILED", "/failed"),
    ("BUSY", "/busy"),
    ("PENDING", "/pending"),
    ("PER SECOND", "/per_second"),
    ("P50 MS", "/p50_ms"),
    ("P90 MS", "/p90_ms"),
    ("P99 MS", "/p99_ms"),
    ("MAX MS", "/max_ms"),
];

const FAILURES: &[Field] =
    &[("FAILED STEP", "/step"), ("KIND", "/kind"), ("COUNT", "/count"), ("THE FIRST OF THEM", "/first")];

impl Report {
    /// Prints it on standard output.
    pub fn print(&self, format: Format) {
        let mut told = self.to_json();
        if format == Format::Json {
            output::json(&told);
            return;
        }
        told["told"] = self.sentences();
        output::line(output::record(&told, FLEET).trim_end());
        for (list, columns) in [("steps", STEPS), ("failures", FAILURES)] {
            let rows = told[list].as_array().map(Vec::as_slice).unwrap_or_default();
            if !rows.is_empty() {
                output::line(&format!("\n{}", output::table(rows, columns).trim_end()));
            }
        }
        if !self.tally.wrong.is_empty() {
            output::line("\nWrong answers, the first in full:");
        }
        for wrong in &self.tally.wrong {
            let (step, kind) = (wrong.step.as_str(), &wrong.incident.kind);
            let detail = printable(&wrong.incident.detail);
            output::line(&format!("  {} {step} {kind}: {detail}", wrong.device));
        }
    }

    /// Whether devices stay in service because that was asked for.
    pub fn is_kept(&self) -> bool {
        self.options.keep && self.left > 0
    }

    /// All right is no failure; some of it is "partial", nothing an error.
    pub fn verdict(&self) -> Outcome {
        let worked = self.tally.steps.iter().any(|(step, counts)| step.is_work() && !counts.times.is_empty());
        let message = if self.interrupted {
            format!("stopped after {} of {} devices", self.driven.begun, self.options.devices)
        } else if !worked {
            "nothing worked".to_owned()
        } else if self.driven.right < self.driven.begun {
            let failed = self.driven.begun - self.driven.right;
            format!("{failed} of {} devices had a failure", self.driven.begun)
        } else if self.driven.begun < self.options.devices && !self.options.is_timed {
            let minutes = self.options.duration.as_secs() / 60;
            let (begun, wanted) = (self.driven.begun, self.options.devices);
            format!("{minutes} minutes were over after {begun} of {wanted} devices: --duration allows more")
        } else if self.left > 0 && !self.options.keep {
            format!("{} devices could not be retired", self.left)
        } else {
            return Ok(());
        };
        let failure = if worked { Failure::partial(message) } else { Failure::error(message) };
        Err(match (self.left, &self.options.challenges) {
            (1.., Challenges::Tickets { .. }) => failure
                .hint(format_args!("retire what is left with `certgate sim --cleanup {}`", self.options.run)),
            _ => failure,
        })
    }

    /// The summary with its stable names. Times are in milliseconds.
    fn to_json(&self) -> Value {
        let steps = Step::ALL.iter().filter_map(|step| Some(told_step(*step, self.tally.steps.get(step)?)));
        let failures = self.tally.failures.iter().map(|((step, kind, words), (count, first))| {
            json!({
                "step": step.as_str(), "kind": kind, "text": words, "count": count, "first": printable(first),
            })
        });
        let wrong = self.tally.wrong.iter().map(|wrong| {
            json!({
                "step": wrong.step.as_str(), "device": wrong.device, "kind": wrong.incident.kind,
                "detail": wrong.incident.detail,
            })
        });
        json!({
            "server": self.options.url,
            "run": self.options.run,
            "devices": {
                "wanted": self.options.devices,
                "begun": self.driven.begun,
                "right": self.driven.right,
                "failed": self.driven.begun - self.driven.right,
            },
            "seconds": round(self.driven.elapsed.as_secs_f64()),
            "interrupted": self.interrupted,
            "connections": self.options.connections,
            "rate": self.options.rate,
            "late_ms": milliseconds(self.driven.late),
            "keys": self.options.keys.min(self.options.devices),
            "steps": steps.collect::<Vec<_>>(),
            "failures": failures.collect::<Vec<_>>(),
            "wrong_answers": wrong.collect::<Vec<_>>(),
            "gateway": { "registered": self.registered, "left": self.left },
        })
    }

    fn sentences(&self) -> Value {
        let Driven { begun, right, elapsed, late } = self.driven;
        let wanted = self.options.devices;
        let cut = if begun < wanted { format!("; {wanted} were wanted") } else { String::new() };
        // Less than a second is the machine's own unsteadiness.
        let behind = if self.options.rate.is_some() && late.as_secs() > 0 {
            let late = late.as_secs_f64();
            format!("; the latest began {late:.1} s after its time: this rate needs more --connections")
        } else {
            String::new()
        };
        let time = format!(
            "{:.1} s, {:.1} devices a second, {} at a time{behind}",
            elapsed.as_secs_f64(),
            f64::from(begun) / elapsed.as_secs_f64().max(0.001),
            self.options.connections
        );
        let keys = self.options.keys.min(self.options.devices);
        let keys = format!("{keys} ({}), shared by the devices", self.options.key_type);
        let gateway = match (self.registered, self.left) {
            (0, _) => Value::Null,
            (registered, 0) => format!("{registered} devices {}*, all retired", self.options.run).into(),
            (registered, left) => {
                format!("{registered} devices {}*, {left} still in service", self.options.run).into()
            }
        };
        json!({ "devices": format!("{right} of {begun} all right{cut}"), "time": time, "keys": keys, "gateway": gateway })
    }
}

fn told_step(step: Step, counts: &StepCounts) -> Value {
    let percentile = |percent| counts.percentile(percent).map(milliseconds);
    json!({
        "step": step.as_str(),
        "done": counts.times.len(),
        "failed": counts.failed,
        "busy": counts.busy,
        "pending": counts.pending,
        "per_second": round(counts.per_second()),
        "p50_ms": percentile(50),
        "p90_ms": percentile(90),
        "p99_ms": percentile(99),
        "max_ms": percentile(100),
    })
}

/// Text of the other side without what a terminal would act on.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn milliseconds(time: std::time::Duration) -> f64 {
    round(time.as_secs_f64() * 1e3)
}

/// One digit after the point.
fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{
        super::tally::{Incident, Tally},
        *,
    };
    use crate::app::{
        client::error::{ClientError, Fault},
        failure::FailureKind,
    };

    fn report(tally: Tally, begun: u32, right: u32) -> Report {
        Report {
            options: super::super::tests::options(),
            tally: tally.into_counts(),
            driven: Driven { begun, right, elapsed: Duration::from_secs(2), late: Duration::ZERO },
            interrupted: false,
            registered: 0,
            left: 0,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a test measures")]
    fn tally(done: &[Step]) -> Tally {
        let tally = Tally::default();
        for step in done {
            tally.done(*step, Instant::now(), Duration::from_millis(12));
        }
        tally
    }

    fn kind(report: &Report) -> Option<FailureKind> {
        report.verdict().err().map(|failure| failure.kind)
    }

    #[test]
    fn the_exit_code_says_all_some_or_nothing() {
        assert_eq!(kind(&report(tally(&[Step::GetCa, Step::Enrol]), 20, 20)), None);
        assert_eq!(kind(&report(tally(&[Step::Enrol]), 20, 19)), Some(FailureKind::Partial));
        assert_eq!(kind(&report(tally(&[Step::Enrol]), 20, 0)), Some(FailureKind::Partial), "they enrolled");
        let refused = report(tally(&[Step::Ticket, Step::GetCa]), 20, 0);
        assert_eq!(kind(&refused), Some(FailureKind::Error), "no device got a certificate");
        assert_eq!(kind(&report(tally(&[]), 0, 0)), Some(FailureKind::Error));
        let stopped = Report { interrupted: true, ..report(tally(&[Step::Enrol]), 5, 5) };
        assert_eq!(kind(&stopped), Some(FailureKind::Partial));
        let late = report(tally(&[Step::Enrol]), 10, 10);
        assert_eq!(kind(&late), Some(FailureKind::Partial), "nobody asked for an end by time");
        let timed = Options { is_timed: true, ..late.options.clone() };
        assert_eq!(kind(&Report { options: timed, ..late }), None);
        let left = Report { registered: 5, left: 1, ..report(tally(&[Step::Enrol]), 20, 20) };
        assert_eq!(kind(&left), Some(FailureKind::Partial));
    }

    #[test]
    fn the_summary_has_stable_names() {
        let tally = tally(&[Step::Enrol]);
        let wrong = ClientError::wrong(Fault::Nonce, "old\u{1b}[2J answer");
        tally.failed(Step::Ocsp, "sim-1", &Incident::of(&wrong));
        let told = report(tally, 20, 19).to_json();
        assert_eq!(told["devices"], json!({"wanted": 20, "begun": 20, "right": 19, "failed": 1}));
        assert_eq!(told.pointer("/steps/0/step").unwrap(), "enrol");
        assert_eq!(told.pointer("/steps/0/p99_ms").unwrap(), 12.0);
        assert_eq!(told.pointer("/failures/0/kind").unwrap(), "wrong-nonce");
        assert_eq!(told.pointer("/failures/0/count").unwrap(), 1);
        assert_eq!(told.pointer("/wrong_answers/0/device").unwrap(), "sim-1");
    }
}
