//! The text of distinguished names (RFC 4514): scanning and escaping.

use std::fmt::{self, Write as _};

use const_oid::ObjectIdentifier;

use super::{NameError, attribute};
use crate::wire::der::reader::Element;

/// Longest text that is read.
const MAX_TEXT: usize = 8192;

/// A value as written.
pub(super) enum Value {
    Text(String),
    /// `#hex`: the DER itself.
    Der(Vec<u8>),
}

pub(super) type Rdn = Vec<(ObjectIdentifier, Value)>;

/// The RDNs in the order of the text.
pub(super) fn parse(text: &str) -> Result<Vec<Rdn>, NameError> {
    if text.len() > MAX_TEXT {
        return Err(NameError::new(format!("longer than {MAX_TEXT} bytes")));
    }
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut scanner = Scanner { rest: text };
    let mut rdns = Vec::new();
    let mut rdn = Rdn::new();
    loop {
        let oid = scanner.attribute_type()?;
        rdn.push((oid, scanner.value()?));
        match scanner.separator()? {
            Some('+') => {}
            separator => {
                rdns.push(std::mem::take(&mut rdn));
                if separator.is_none() {
                    return Ok(rdns);
                }
            }
        }
    }
}

struct Scanner<'a> {
    rest: &'a str,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let character = chars.next();
        self.rest = chars.as_str();
        character
    }

    fn attribute_type(&mut self) -> Result<ObjectIdentifier, NameError> {
        let (keyword, rest) = self
            .rest
            .split_once('=')
            .ok_or_else(|| NameError::new(format!("\"{}\": expected ATTRIBUTE=value", self.rest.trim())))?;
        let keyword = keyword.trim();
        self.rest = rest;
        attribute::from_keyword(keyword).ok_or_else(|| {
            NameError::new(format!("\"{keyword}\" is not a known attribute or object identifier"))
        })
    }

    fn value(&mut self) -> Result<Value, NameError> {
        self.rest = self.rest.trim_start_matches(' ');
        match self.peek() {
            Some('#') => self.hex_value(),
            Some('"') => self.quoted_value().map(Value::Text),
            _ => self.plain_value().map(Value::Text),
        }
    }

    /// RFC 4514 §2.4: the DER of the value in hexadecimal digits.
    fn hex_value(&mut self) -> Result<Value, NameError> {
        let digits = self.rest.trim_start_matches('#');
        let end = digits.find([',', '+']).unwrap_or(digits.len());
        let (digits, rest) = digits.split_at(end);
        self.rest = rest;
        let der = hex::decode(digits.trim_end()).ok().filter(|der| Element::only(der).is_ok());
        der.map(Value::Der).ok_or_else(|| NameError::new(format!("\"#{digits}\" is not DER in hex digits")))
    }

    /// RFC 2253 §4: between quotation marks only `"` and `\` need escaping.
    fn quoted_value(&mut self) -> Result<String, NameError> {
        self.bump();
        let mut bytes = Vec::new();
        loop {
            match self.bump() {
                None => return Err(NameError::new("a quoted value does not end")),
                Some('"') => return text(bytes),
                Some('\\') => self.escape(&mut bytes)?,
                Some(character) => push(&mut bytes, character),
            }
        }
    }

    fn plain_value(&mut self) -> Result<String, NameError> {
        let mut bytes = Vec::new();
        // Spaces at the end do not count unless they are escaped.
        let mut significant = 0;
        while let Some(character) = self.peek().filter(|character| !matches!(character, ',' | '+')) {
            self.bump();
            match character {
                '\\' => self.escape(&mut bytes)?,
                ';' | '"' | '<' | '>' => {
                    return Err(NameError::new(format!(
                        "`{character}` in a value is written `\\{character}`"
                    )));
                }
                _ => push(&mut bytes, character),
            }
            if character != ' ' {
                significant = bytes.len();
            }
        }
        bytes.truncate(significant);
        text(bytes)
    }

    /// The rest of `\,` or `\2C`.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), NameError> {
        if let Some(byte) = self.rest.get(..2).and_then(|digits| hex::decode(digits).ok()) {
            out.extend(byte);
            self.rest = self.rest.get(2..).unwrap_or_default();
            return Ok(());
        }
        match self.bump() {
            Some(character) if "\\\"+,;<>=# ".contains(character) => push(out, character),
            _ => {
                return Err(NameError::new(
                    "\\ is followed neither by a special character nor by two hex digits",
                ));
            }
        }
        Ok(())
    }

    fn separator(&mut self) -> Result<Option<char>, NameError> {
        self.rest = self.rest.trim_start_matches(' ');
        match self.bump() {
            None => Ok(None),
            Some(separator @ (',' | '+')) => Ok(Some(separator)),
            Some(_) => Err(NameError::new("text after a quoted value")),
        }
    }
}

fn push(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

fn text(bytes: Vec<u8>) -> Result<String, NameError> {
    String::from_utf8(bytes).map_err(|_| NameError::new("escaped bytes are not UTF-8"))
}

/// RFC 4514 §2.4: the characters that would be read as something else.
pub(in crate::wire) fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    // Writing to a String does not fail.
    let _ = push_escaped(&mut text, value);
    text
}

/// The same at the end of a text.
pub(super) fn push_escaped(out: &mut String, value: &str) -> fmt::Result {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        match character {
            ' ' if index == 0 || index == last => out.push_str("\\ "),
            '#' if index == 0 => out.push_str("\\#"),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            _ if character.is_control() => {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    write!(out, "\\{byte:02x}")?;
                }
            }
            _ => out.push(character),
        }
    }
    Ok(())
}
