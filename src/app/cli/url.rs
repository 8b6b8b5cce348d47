//! URLs on the command line, looked at before anybody is asked.

use crate::app::{client::http::check_url, failure::Failure};

/// Reads a URL that can be asked.
pub(super) fn http(text: &str) -> Result<String, Failure> {
    let begins =
        |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if !begins("http://") && !begins("https://") {
        return Err(Failure::usage("a URL begins with http:// or https://"));
    }
    check_url(text).map_err(Failure::usage)?;
    Ok(text.to_owned())
}

/// Reads the URL of a SCEP server.
pub(super) fn scep(text: &str) -> Result<String, Failure> {
    if text.to_ascii_lowercase().contains("operation=") {
        return Err(Failure::usage("leave out `?operation=..`: each request adds its own"));
    }
    http(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_its_scheme_and_no_operation() {
        for url in ["http://pki.example:8080/scep/device", "HTTPS://pki.example/certsrv/mscep/mscep.dll?ca=1"]
        {
            assert_eq!(scep(url).unwrap(), url);
        }
        for wrong in ["pki.example/scep/device", "127.0.0.1:8080", "ftp://pki.example/", "", "httpsx"] {
            assert!(http(wrong).unwrap_err().message.contains("http://"), "{wrong}");
        }
        assert!(http("http://pki .example/").is_err());
        assert!(scep("http://pki.example/scep?Operation=GetCACert").is_err());
    }
}
