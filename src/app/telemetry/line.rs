//! One event of the log is one line: what strangers write into names and requests must not look like events of its own, or steer a
//! terminal.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
};

/// Hands events on with their control characters escaped. Each call of `write` brings a whole event, as the log's layer does it.
pub(super) struct OneLine<W>(pub(super) W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        self.0.write_all(escaped(&text).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// `event` with everything escaped that ends a line or controls a terminal, but for its own end.
fn escaped(event: &str) -> Cow<'_, str> {
    let (line, end) = event.strip_suffix('\n').map_or((event, ""), |line| (line, "\n"));
    if !line.contains(is_escaped) {
        return Cow::Borrowed(event);
    }
    let mut text = String::with_capacity(event.len() + 16);
    for character in line.chars() {
        match character {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            // As JSON has it, for the event may be JSON. All of them have four digits.
            other if is_escaped(other) => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(other));
            }
            other => text.push(other),
        }
    }
    text.push_str(end);
    Cow::Owned(text)
}

/// Control characters (C0, DEL and C1, of which some terminals take U+009B as ESC [), and what Unicode has to end a line or to turn its
/// direction.
fn is_escaped(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_in_json_stays_json() {
        let log = Log::default();
        let written = log.clone();
        let lines = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(move || OneLine(written.clone()));
        let serial = "X\n\t\u{1b}[31m\u{7f}\u{9b}\u{2028}\u{202e} \"quoted\" 漢";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::warn!(%serial, "no challenge is given");
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(!text.contains(['\u{7f}', '\u{9b}', '\u{2028}']), "{text:?}");
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["serial"], serial);
    }

    #[test]
    fn what_a_stranger_writes_begins_no_line_and_steers_no_terminal() {
        let log = Log::default();
        let written = log.clone();
        let lines =
            tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || OneLine(written.clone()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let serial =
                "X\n2026-11-21T02:04:54Z  INFO certgate: all is well \u{1b}[31m\u{9b}\u{0}\u{2028}\u{202e}";
            tracing::warn!(reason = %format_args!("no device has the serial {serial}"), "no challenge is given");
            tracing::info!("Gerät 漢 'x' \"y\"");
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.split('\n').collect();
        assert_eq!(lines.len(), 3, "two events and the end: {text:?}");
        assert!(lines[0].contains(r"serial X\n2026-11-21T02:04:54Z"), "{text:?}");
        assert!(lines[0].contains(r"\u001b[31m\u009b\u0000\u2028\u202e"), "{text:?}");
        assert!(lines[1].ends_with("Gerät 漢 'x' \"y\""), "what is no control stays: {text:?}");
    }
}
