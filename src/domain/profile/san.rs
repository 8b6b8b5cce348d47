//! subjectAltName templates: `type:template`.

use std::net::IpAddr;

use super::{
    template::{Context, Template},
    variables::Variables,
};
use crate::wire::x509::{GeneralName, Name};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Email,
    Dns,
    Uri,
    Ip,
    Upn,
    DirName,
}

/// A parsed `type:template`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SanTemplate {
    kind: Kind,
    template: Template,
}

impl SanTemplate {
    /// Parses, and checks as much of the value as is known without variables.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const TYPES: &str = "write TYPE:VALUE with a type of email, dns, uri, ip, upn, dirname";
        let (kind, template) = text.split_once(':').ok_or(TYPES)?;
        let kind = match kind.trim().to_ascii_lowercase().as_str() {
            "email" => Kind::Email,
            "dns" => Kind::Dns,
            "uri" => Kind::Uri,
            "ip" => Kind::Ip,
            "upn" => Kind::Upn,
            "dirname" => Kind::DirName,
            other => return Err(format!("\"{other}\" is not a type: {TYPES}")),
        };
        let parsed = Self { kind, template: Template::parse(template.trim())? };
        if parsed.template.is_blank() {
            return Err("has no value".to_owned());
        }
        // Whether a value with variables fits its type shows only when it is filled, except for a name's
        // structure.
        if parsed.template.is_constant() || kind == Kind::DirName {
            parsed.value(&parsed.template.sample(parsed.context()))?;
        }
        Ok(parsed)
    }

    /// The name, or nothing when one of its variables has no value. An error names a value that does not fit
    /// the type.
    pub(super) fn fill(&self, variables: &Variables) -> Result<Option<GeneralName>, String> {
        match self.template.fill(self.context(), |name| variables.get(name).map(String::as_str)) {
            Ok(text) => self.value(&text).map(Some),
            Err(_empty) => Ok(None),
        }
    }

    fn context(&self) -> Context {
        if self.kind == Kind::DirName { Context::DistinguishedName } else { Context::Plain }
    }

    fn value(&self, text: &str) -> Result<GeneralName, String> {
        let checked = |valid: bool, name: fn(String) -> GeneralName, expected: &str| {
            if valid { Ok(name(text.to_owned())) } else { Err(format!("\"{text}\" is not {expected}")) }
        };
        match self.kind {
            Kind::Email => checked(is_email(text), GeneralName::Email, "an e-mail address"),
            Kind::Dns => checked(is_dns_name(text), GeneralName::Dns, "a DNS name"),
            Kind::Uri => checked(is_uri(text), GeneralName::Uri, "an absolute URI"),
            Kind::Upn => checked(is_upn(text), GeneralName::Upn, "a user principal name (user@realm)"),
            Kind::Ip => text
                .parse::<IpAddr>()
                .map(GeneralName::Ip)
                .map_err(|_| format!("\"{text}\" is not an IP address")),
            Kind::DirName => {
                let name: Name = text.parse().map_err(|error| format!("{error}"))?;
                if name.is_empty() {
                    Err("the name is empty".to_owned())
                } else {
                    Ok(GeneralName::DirName(name))
                }
            }
        }
    }
}

/// Whether certgate lets a requested name through at all: of a kind that it knows, with a value that fits the
/// kind.
pub(in crate::domain) fn is_well_formed(name: &GeneralName) -> bool {
    match name {
        GeneralName::Email(text) => is_email(text),
        GeneralName::Dns(text) => is_dns_name(text),
        GeneralName::Uri(text) => is_uri(text),
        GeneralName::Upn(text) => is_upn(text),
        GeneralName::Ip(_) => true,
        GeneralName::DirName(name) => !name.is_empty(),
        GeneralName::Other(_) => false,
    }
}

/// local@domain in printable ASCII (RFC 5280 §4.2.1.6: rfc822Name is an IA5String without a display name).
fn is_email(text: &str) -> bool {
    let visible = text.bytes().all(|b| (0x21..0x7f).contains(&b) && !b"<>,;\"()".contains(&b));
    visible
        && matches!(text.split_once('@'), Some((local, domain)) if !local.is_empty() && is_dns_name(domain))
}

/// Labels of letters, digits, hyphens and underscores (as device names have); a `*` may be the whole first
/// label.
fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let rest = text.strip_prefix("*.").unwrap_or(text);
    (1..=253).contains(&text.len()) && rest.split('.').all(is_label)
}

/// scheme:rest in printable ASCII without spaces (RFC 3986 §3).
fn is_uri(text: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    let visible = text.bytes().all(|b| (0x21..0x7f).contains(&b) && !b"<>\"\\^`{|}".contains(&b));
    visible && matches!(text.split_once(':'), Some((scheme, rest)) if is_scheme(scheme) && !rest.is_empty())
}

fn is_upn(text: &str) -> bool {
    let printable = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    let mut parts = text.split('@');
    let both = [parts.next(), parts.next()].iter().all(|part| part.is_some_and(|part| !part.is_empty()));
    printable && both && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str, value: &str) -> Result<Option<GeneralName>, String> {
        let variables = Variables::from([("DEVICE_ID".to_owned(), value.to_owned())]);
        SanTemplate::parse(template).unwrap().fill(&variables)
    }

    #[test]
    fn fills_each_type() {
        for (template, value, text) in [
            ("email:{{DEVICE_ID}}@lab.example", "a.b+c", "email:a.b+c@lab.example"),
            ("dns:{{DEVICE_ID}}.lab.example", "ap-7", "dns:ap-7.lab.example"),
            ("uri:urn:uuid:$DEVICE_ID$", "0f", "uri:urn:uuid:0f"),
            ("ip:$DEVICE_ID$", "2001:db8::1", "ip:2001:db8::1"),
            ("upn:$DEVICE_ID$", "ada@lab", "upn:ada@lab"),
            ("dirname:CN=$DEVICE_ID$", "a,O=x", "dirname:CN=a\\,O=x"),
        ] {
            assert_eq!(fill(template, value).unwrap().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_name_without_a_value_is_left_out() {
        assert_eq!(fill("dns:{{DEVICE_SN}}.lab.example", "x"), Ok(None));
    }

    #[test]
    fn refuses_values_that_do_not_fit_the_type() {
        for (template, value) in [
            ("email:$DEVICE_ID$", "nobody"),
            ("email:$DEVICE_ID$@lab.example", "a@b,c"),
            ("dns:$DEVICE_ID$", "a b"),
            ("dns:$DEVICE_ID$", "a..b"),
            ("dns:$DEVICE_ID$.lab", "a,dns:b"),
            ("uri:$DEVICE_ID$", "no-scheme"),
            ("ip:$DEVICE_ID$", "1.2.3"),
            ("upn:$DEVICE_ID$", "ada"),
            ("upn:$DEVICE_ID$@lab", "ada@evil"),
        ] {
            assert!(fill(template, value).is_err(), "{template} {value}");
        }
    }

    #[test]
    fn refuses_templates_that_can_never_fit() {
        for bad in
            ["dns", "nope:x", "dns:", "dns:$NOPE$", "ip:999.1.1.1", "email:nobody", "dirname:$DEVICE_ID$"]
        {
            assert!(SanTemplate::parse(bad).is_err(), "{bad}");
        }
    }
}
