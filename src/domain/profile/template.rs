//! Templates: text with variables, `$NAME$` or `{{NAME}}`.

use super::variables::canonical_name;

/// A parsed template. Every variable in it is one that certgate knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// By its canonical name.
    Variable(String),
}

/// What the filled template is part of, and so how values are written into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// Values as they are.
    Plain,
    /// A distinguished name: values are escaped (RFC 4514 §2.4), so that none can add an attribute. Only a
    /// variable that holds a whole name, standing where a whole RDN sequence stands, goes in as it is.
    DistinguishedName,
}

/// The variable that has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("${0}$ has no value")]
pub(super) struct EmptyVariable(pub(super) String);

/// Variables that hold a whole distinguished name.
const WHOLE_NAMES: [&str; 1] = ["USER_DN"];

impl Template {
    /// Parses; the error says what is wrong and what would be right.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(start) = rest.find(['$', '{']) {
            let (before, from) = rest.split_at(start);
            literal.push_str(before);
            if let Some(after) = from.strip_prefix("$$") {
                literal.push('$');
                rest = after;
            } else if let Some(after) = from.strip_prefix("{{") {
                let found = after.split_once("}}").ok_or("a {{ has no }}")?;
                rest = push_variable(&mut parts, &mut literal, found)?;
            } else if let Some(after) = from.strip_prefix('$') {
                let found = after
                    .split_once('$')
                    .ok_or("a $ that opens a variable has no closing $; a dollar sign is written $$")?;
                rest = push_variable(&mut parts, &mut literal, found)?;
            } else {
                literal.push('{');
                rest = from.get(1..).unwrap_or_default();
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }

    /// Whether it has no variables.
    pub(super) fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Literal(_)))
    }

    /// Whether it gives the empty text whatever the values are.
    pub(super) fn is_blank(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Literal(text) if text.trim().is_empty()))
    }

    /// The text with every variable replaced by what `value` gives for its canonical name.
    pub(super) fn fill<'v>(
        &self,
        context: Context,
        value: impl Fn(&str) -> Option<&'v str>,
    ) -> Result<String, EmptyVariable> {
        let mut text = String::new();
        for (index, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Variable(name) => {
                    let value = value(name)
                        .filter(|value| !value.is_empty())
                        .ok_or_else(|| EmptyVariable(name.clone()))?;
                    if context == Context::Plain || self.holds_whole_name(index) {
                        text.push_str(value);
                    } else {
                        push_escaped(&mut text, value);
                    }
                }
            }
        }
        Ok(text)
    }

    /// The text with a short sample for every variable: to see at configuration time whether it can be parsed
    /// at all.
    pub(super) fn sample(&self, context: Context) -> String {
        let sample = |name: &str| Some(if WHOLE_NAMES.contains(&name) { "CN=XX" } else { "XX" });
        self.fill(context, sample).unwrap_or_default()
    }

    fn holds_whole_name(&self, index: usize) -> bool {
        let part = |index: usize| self.parts.get(index);
        let starts = match index.checked_sub(1).and_then(part) {
            None => true,
            Some(Part::Literal(before)) => {
                let before = before.trim_end();
                before.ends_with(',') && !before.ends_with("\\,")
            }
            Some(Part::Variable(_)) => false,
        };
        let ends = match part(index + 1) {
            None => true,
            Some(Part::Literal(after)) => after.trim_start().starts_with(','),
            Some(Part::Variable(_)) => false,
        };
        let whole = matches!(part(index), Some(Part::Variable(name)) if WHOLE_NAMES.contains(&name.as_str()));
        whole && starts && ends
    }
}

/// Ends the literal, adds the variable, and returns the text after it.
fn push_variable<'t>(
    parts: &mut Vec<Part>,
    literal: &mut String,
    (name, rest): (&str, &'t str),
) -> Result<&'t str, String> {
    let canonical = canonical_name(name).ok_or_else(|| {
        let name: String = name.chars().take(40).collect();
        format!(
            "\"{}\" is not a variable; EMAIL, DEVICE_SN, user.attr.NAME and device.attr.NAME are",
            name.trim()
        )
    })?;
    if !literal.is_empty() {
        parts.push(Part::Literal(std::mem::take(literal)));
    }
    parts.push(Part::Variable(canonical));
    Ok(rest)
}

/// RFC 4514 §2.4. Spaces and `#` are escaped wherever they could be at an end of the value, because what
/// stands beside the variable is not known here.
fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        let at_end = index == 0 || index == last;
        let special = matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' | '#');
        if special || (character == ' ' && at_end) {
            text.push('\\');
        }
        text.push(character);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::x509::Name;

    fn fill(template: &str, context: Context, value: &str) -> Result<String, EmptyVariable> {
        Template::parse(template).unwrap().fill(context, |_| Some(value))
    }

    #[test]
    fn both_spellings_in_any_case_mean_the_same() {
        let parsed = Template::parse("CN=$EMAIL$").unwrap();
        for spelling in ["CN={{EMAIL}}", "CN={{ email }}", "CN=$Email$"] {
            assert_eq!(Template::parse(spelling).unwrap(), parsed, "{spelling}");
        }
        for (alias, name) in
            [("DeviceId", "DEVICE_ID"), ("AAD_Device_ID", "DEVICE_UUID"), ("UserPrincipalName", "USER_UPN")]
        {
            let spelled = |name: &str| Template::parse(&format!("{{{{{name}}}}}")).unwrap();
            assert_eq!(spelled(alias), spelled(name));
        }
    }

    #[test]
    fn names_what_is_wrong() {
        for (text, problem) in [
            ("CN=$EMAIL", "no closing $"),
            ("CN={{EMAIL", "no }}"),
            ("CN=$NOPE$", "\"NOPE\" is not a variable"),
            ("CN=$user.attr.$", "is not a variable"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn dollars_and_single_braces_are_text() {
        assert_eq!(fill("a$$b{c}", Context::Plain, "x"), Ok("a$b{c}".to_owned()));
        assert!(Template::parse("a$$b").unwrap().is_constant());
    }

    #[test]
    fn an_empty_variable_is_named() {
        assert_eq!(fill("CN=$DEVICE_SN$", Context::Plain, ""), Err(EmptyVariable("DEVICE_SN".to_owned())));
    }

    #[test]
    fn a_value_cannot_add_an_attribute() {
        let text = fill("CN=$DISPLAY_NAME$,O=Lab", Context::DistinguishedName, "Ada,OU=Admins+L=x").unwrap();
        let name: Name = text.parse().unwrap();
        assert_eq!(name.common_name().unwrap(), "Ada,OU=Admins+L=x");
        assert!(name.values("2.5.4.11".parse().unwrap()).is_empty());
    }

    #[test]
    fn a_whole_name_goes_in_only_as_a_whole() {
        let dn = "CN=Ada,OU=Lab";
        assert_eq!(fill("$USER_DN$", Context::DistinguishedName, dn).unwrap(), dn);
        assert_eq!(
            fill("O=X, $USER_DN$ ,C=CH", Context::DistinguishedName, dn).unwrap(),
            "O=X, CN=Ada,OU=Lab ,C=CH"
        );
        for partial in ["CN=$USER_DN$", "CN=a\\,$USER_DN$", "$USER_DN$$EMAIL$", "CN=$EMAIL$$USER_DN$"] {
            let text = fill(partial, Context::DistinguishedName, dn).unwrap();
            assert!(text.contains("Ada\\,OU"), "{partial}: {text}");
        }
    }

    proptest! {
        #[test]
        fn any_printable_value_comes_back_from_the_name(value in "[^\\p{C}\\p{Z}][^\\p{C}]{0,30}[^\\p{C}\\p{Z}]") {
            let text = fill("O=Lab,CN=$USERID$,C=CH", Context::DistinguishedName, &value).unwrap();
            let name: Name = text.parse().unwrap();
            prop_assert_eq!(name.common_name(), Some(value));
            prop_assert_eq!(name.values("2.5.4.6".parse().unwrap()), vec!["CH".to_owned()]);
        }
    }
}
