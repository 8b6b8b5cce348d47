//! The way from the command line to a running server: its API over the Unix socket in its data directory.

use std::{
    io::{self, IsTerminal, Read as _, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::output::{self, note};
use crate::app::{
    client::http::{HttpClient, HttpError, Response, Streamed},
    config::Config,
    failure::{Failure, FailureKind, Outcome},
    serve::STORE_FILE,
};

/// The socket's name in the data directory.
pub const SOCKET_NAME: &str = "certgate.sock";

/// No problem is longer.
const MAX_PROBLEM: u64 = 64 * 1024;

/// Where packages keep their data.
const DEFAULT_DATA: &str = "/var/lib/certgate";

/// Everything but RFC 3986's unreserved characters is escaped in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Which server to talk to.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerArgs {
    /// Data directory of the server [default: $CERTGATE_DATA, else that of ./certgate.toml, else /var/lib/certgate]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Server")]
    pub data: Option<PathBuf>,
    /// The server's Unix socket [default: certgate.sock in the data directory]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Server")]
    pub socket: Option<PathBuf>,
}

impl ServerArgs {
    /// The socket to connect to.
    fn path(&self) -> Outcome<PathBuf> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        if let Some(data) = self.data.clone().or_else(|| std::env::var_os("CERTGATE_DATA").map(PathBuf::from))
        {
            return Ok(data.join(SOCKET_NAME));
        }
        let configured = configured(Path::new("certgate.toml"))?;
        Ok(configured.map_or_else(|| Path::new(DEFAULT_DATA).join(SOCKET_NAME), |(_, socket)| socket))
    }

    /// The data directory of that server. Errors: only its socket was named, and it lies elsewhere.
    pub fn directory(&self) -> Outcome<PathBuf> {
        let data = self.data.clone().or_else(|| std::env::var_os("CERTGATE_DATA").map(PathBuf::from));
        let directory = match (data, &self.socket) {
            (Some(data), _) => data,
            (None, Some(socket)) => socket.parent().unwrap_or(Path::new("")).to_owned(),
            (None, None) => match configured(Path::new("certgate.toml"))? {
                Some((data, _)) => data,
                None => PathBuf::from(DEFAULT_DATA),
            },
        };
        if directory.join(STORE_FILE).exists() {
            return Ok(directory);
        }
        Err(Failure::usage(format_args!("{} holds no gateway", directory.display()))
            .hint("say where its data is with --data DIR (or CERTGATE_DATA)"))
    }

    /// A client of that server. Nothing is sent yet.
    pub fn connect(&self) -> Outcome<AdminClient> {
        Ok(AdminClient { http: HttpClient::new().map_err(Failure::error)?, socket: self.path()? })
    }
}

/// Data directory and socket of the server that the configuration file describes, if there is such a file here. Mistakes in it are for
/// `check-config` to tell: this looks at two keys only.
fn configured(path: &Path) -> Outcome<Option<(PathBuf, PathBuf)>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::error(format_args!("{}: {error}", path.display()))),
    };
    let table: toml::Table = text.parse().map_err(Failure::while_doing(path.display()))?;
    let text = |value: Option<&toml::Value>| value.and_then(toml::Value::as_str).map(PathBuf::from);
    let default = Config::default();
    let data = text(table.get("data")).unwrap_or(default.data);
    let socket = text(table.get("listen").and_then(|listen| listen.get("socket")));
    let directory = path.parent().unwrap_or(Path::new(""));
    let data = directory.join(data);
    let socket = data.join(socket.unwrap_or(default.listen.socket));
    Ok(Some((data, socket)))
}

/// Talks to one server's API.
#[derive(Debug)]
pub struct AdminClient {
    http: HttpClient,
    socket: PathBuf,
}

impl AdminClient {
    /// Reads; `path` comes after `/api/v1`.
    pub fn get(&self, path: &str) -> Outcome<Value> {
        self.call(Method::GET, path, None)
    }

    /// Posts `body`.
    pub fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.call(Method::POST, path, Some(body))
    }

    /// Posts a file, and waits `limit` for the answer.
    pub fn upload(
        &self,
        path: &str,
        content_type: &str,
        content: Vec<u8>,
        limit: Duration,
    ) -> Outcome<Value> {
        let http = HttpClient::new().map_err(Failure::error)?.with_limit(limit);
        let response = http
            .upload_over_socket(self.socket.clone(), &format!("/api/v1{path}"), content_type, content)
            .map_err(|error| self.unreachable(&error))?;
        read(&response)
    }

    /// Puts `body`.
    pub fn put(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.call(Method::PUT, path, Some(body))
    }

    /// Deletes.
    pub fn delete(&self, path: &str) -> Outcome<Value> {
        self.call(Method::DELETE, path, None)
    }

    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Outcome<Value> {
        let body = body.map(|body| body.to_string().into_bytes());
        let response = self
            .http
            .over_socket(self.socket.clone(), method, &format!("/api/v1{path}"), body)
            .map_err(|error| self.unreachable(&error))?;
        read(&response)
    }

    /// Whether a server listens there. Errors: it cannot be told, for want of permission.
    pub fn is_answered(&self) -> Outcome<bool> {
        match UnixStream::connect(&self.socket) {
            Ok(_) => Ok(true),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Ok(false)
            }
            Err(source) => {
                let target = self.socket.display().to_string();
                Err(self.unreachable(&HttpError::Connect { target, source }))
            }
        }
    }

    /// Posts nothing and reads the answer as it comes.
    pub fn stream(&self, path: &str) -> Outcome<Streamed<'_>> {
        let path = format!("/api/v1{path}");
        let mut answer = self
            .http
            .stream_over_socket(self.socket.clone(), Method::POST, &path)
            .map_err(|error| self.unreachable(&error))?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let mut body = Vec::new();
        answer.by_ref().take(MAX_PROBLEM).read_to_end(&mut body).map_err(Failure::error)?;
        Err(problem(answer.status.as_u16(), &serde_json::from_slice(&body).unwrap_or_default()))
    }

    fn unreachable(&self, error: &HttpError) -> Failure {
        let socket = self.socket.display();
        match error {
            HttpError::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Failure::refused(format_args!("no permission to open {socket}"))
                    .hint("run this as root or as the server's own user, or use an API token over HTTPS")
            }
            HttpError::Connect { .. } => Failure::error(format_args!("no server at {socket}")).hint(
                "start it with `certgate serve`, or say where its data is with --data DIR (or CERTGATE_DATA)",
            ),
            other => Failure::error(other),
        }
    }
}

/// A JSON answer, or the problem that the server reports (RFC 9457).
fn read(response: &Response) -> Outcome<Value> {
    let body: Value = if response.body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&response.body).map_err(|_| {
            Failure::error(format_args!("the server answered HTTP {} without JSON", response.status.as_u16()))
        })?
    };
    if response.status.is_success() { Ok(body) } else { Err(problem(response.status.as_u16(), &body)) }
}

fn problem(status: u16, body: &Value) -> Failure {
    let text = |key| body.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = match text("type").rsplit(':').next().unwrap_or_default() {
        "not-found" => FailureKind::NotFound,
        "invalid" => FailureKind::Usage,
        "conflict" | "refused" | "forbidden" | "unauthenticated" => FailureKind::Refused,
        _ => FailureKind::Error,
    };
    let hint = (kind == FailureKind::Error && !text("request_id").is_empty())
        .then(|| format!("the server's log has more under request {}", text("request_id")));
    // That the log has more is said by the hint, with the place.
    let detail = if hint.is_some() { "" } else { without_json(text("detail")) };
    let message = [detail, text("title")].into_iter().find(|text| !text.is_empty());
    let message = message.map_or_else(|| format!("the server answered HTTP {status}"), str::to_owned);
    Failure { kind, message, hint }
}

/// What is wrong with a value, without its place in a body that this program wrote.
fn without_json(detail: &str) -> &str {
    if detail.starts_with("nothing is served at this path") {
        return "the server has no such place: is a name empty, or is it another version of certgate?";
    }
    let Some(problem) = detail.strip_prefix("body: ") else { return detail };
    problem.rsplit_once(" at line 1 column ").map_or(problem, |(problem, _)| problem)
}

/// A path segment, escaped.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Pages of a listing.
#[derive(Args, Clone, Debug)]
pub struct PageArgs {
    /// How many at most, 1 to 1000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Continue after this key, as the page before said
    #[arg(long, value_name = "KEY")]
    pub after: Option<String>,
}

impl PageArgs {
    /// `?limit=..&after=..`, with further `pairs` that have a value.
    pub fn query(&self, pairs: &[(&str, Option<&str>)]) -> String {
        let mut query = format!("?limit={}", self.limit);
        for (key, value) in pairs.iter().copied().chain([("after", self.after.as_deref())]) {
            if let Some(value) = value {
                query.extend(["&", key, "=", &segment(value)]);
            }
        }
        query
    }
}

/// The leave to do what cannot be undone.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct YesArgs {
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
}

impl YesArgs {
    /// Asks on the terminal unless `--yes` was given. Without a terminal there is nobody to ask: a usage error.
    pub fn confirm(self, question: &str) -> Outcome {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::usage(format_args!("{question} There is no terminal to ask on"))
                .hint("say --yes if this is what you want"));
        }
        let _ = write!(io::stderr(), "{} [y/N] ", output::shown(question));
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map_err(Failure::error)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::refused("nothing was done")),
        }
    }
}

/// Does `act` for each name and goes on after a failure. Errors: the only failure, or "partial" where others went well.
pub fn for_each(names: &[String], mut act: impl FnMut(&str) -> Outcome) -> Outcome {
    let mut failures = Vec::new();
    for name in names {
        if let Err(failure) = act(name) {
            failures.push((name, failure));
        }
    }
    match failures.len() {
        0 => Ok(()),
        1 if names.len() == 1 => failures.into_iter().next().map_or(Ok(()), |(_, failure)| Err(failure)),
        failed => {
            for (name, failure) in &failures {
                note(&format!("{name}: {failure}"));
            }
            let message = format!("{failed} of {} failed", names.len());
            Err(if failed == names.len() { Failure::error(message) } else { Failure::partial(message) })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_server_that_does_not_run_is_said_so() {
        let server = ServerArgs { data: Some("/nonexistent".into()), socket: None };
        let failure = server.connect().unwrap().get("/devices").unwrap_err();
        assert_eq!(failure.message, "no server at /nonexistent/certgate.sock");
        assert!(failure.hint.unwrap().contains("certgate serve"));
    }

    #[test]
    fn problems_become_exit_codes() {
        let cases = [
            ("not-found", FailureKind::NotFound),
            ("invalid", FailureKind::Usage),
            ("conflict", FailureKind::Refused),
            ("refused", FailureKind::Refused),
            ("forbidden", FailureKind::Refused),
            ("unavailable", FailureKind::Error),
            ("internal", FailureKind::Error),
        ];
        for (name, kind) in cases {
            let body = json!({"type": format!("urn:certgate:problem:{name}"), "title": "T", "detail": "D"});
            let failure = problem(500, &body);
            assert_eq!((failure.kind, failure.message.as_str()), (kind, "D"), "{name}");
        }
    }

    #[test]
    fn a_problem_is_told_without_what_the_operator_did_not_write() {
        let told = |name: &str, detail: &str| {
            let kind = format!("urn:certgate:problem:{name}");
            let body = json!({"type": kind, "title": "T", "detail": detail, "request_id": "00ff"});
            let failure = problem(400, &body);
            (failure.message, failure.hint)
        };
        let (message, _) = told(
            "invalid",
            "body: \"a b\" is not a valid device id: expected 1 to 128 letters at line 1 column 27",
        );
        assert_eq!(message, "\"a b\" is not a valid device id: expected 1 to 128 letters");
        assert_eq!(
            told("invalid", "uses: a ticket has between 1 and 100 uses").0,
            "uses: a ticket has between 1 and 100 uses"
        );
        let (message, _) = told("not-found", "nothing is served at this path; the API is below /api/v1");
        assert!(message.contains("is a name empty"), "{message}");
        let (message, hint) = told("unavailable", "the server's log says more under the request id");
        assert_eq!((message.as_str(), hint.unwrap().contains("00ff")), ("T", true));
    }

    #[test]
    fn identifiers_cannot_change_the_path() {
        assert_eq!(segment("../a b?c#d"), "..%2Fa%20b%3Fc%23d");
        let page = PageArgs { limit: 5, after: Some("x&y".to_owned()) };
        assert_eq!(
            page.query(&[("device", Some("d@1")), ("user", None)]),
            "?limit=5&device=d%401&after=x%26y"
        );
    }

    #[test]
    fn some_failures_among_several_are_partial() {
        let names = ["a".to_owned(), "b".to_owned()];
        let only_a = |name: &str| if name == "a" { Ok(()) } else { Err(Failure::not_found("no b")) };
        assert_eq!(for_each(&names, only_a).unwrap_err().kind, FailureKind::Partial);
        assert_eq!(for_each(&names, |_| Err(Failure::refused("no"))).unwrap_err().kind, FailureKind::Error);
        assert_eq!(for_each(&names[1..], only_a).unwrap_err().kind, FailureKind::NotFound);
        assert!(for_each(&names[..1], only_a).is_ok());
    }

    #[test]
    fn the_configuration_beside_us_names_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("certgate.toml");
        assert_eq!(configured(&path).unwrap(), None);
        for (text, socket) in [
            ("data = \"store\"\n", "store/certgate.sock"),
            ("# every key has its default\n", "data/certgate.sock"),
            ("[listen]\nsocket = \"/run/x.sock\"\n", "/run/x.sock"),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(configured(&path).unwrap().unwrap().1, dir.path().join(socket), "{text}");
        }
    }
}
