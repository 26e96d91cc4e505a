//! The text form of a config file, as Java's `Properties` reads it: `key=value`, `key: value` or `key value`, `#` and `!` for
//! comments, a backslash for escapes and for a value that goes on in the next line.

use std::fmt;

/// One setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Property {
    /// Line on which it begins, the first is 1.
    pub line: usize,
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
}

/// What is wrong with a config file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// Where, if it came from a file.
    pub line: Option<usize>,
    /// The setting.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}: {}", self.key, self.message)
    }
}

impl std::error::Error for ConfigError {}

/// The settings of a file, in order; a key may occur more than once.
pub fn parse_properties(text: &str) -> Result<Vec<Property>, ConfigError> {
    let mut properties = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while goes_on(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start()),
                None => break,
            }
        }
        properties.push(property(at + 1, &logical)?);
    }
    Ok(properties)
}

/// An odd number of backslashes at the end joins a line to the next.
fn goes_on(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

fn property(line: usize, text: &str) -> Result<Property, ConfigError> {
    let mut escaped = false;
    let end = text.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || c.is_ascii_whitespace());
        escaped = !escaped && c == '\\';
        ends
    });
    let (key, rest) = text.split_at(end.unwrap_or(text.len()));
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
    let unescaped = |part: &str| {
        unescape(part).map_err(|message| ConfigError { line: Some(line), key: key.to_owned(), message })
    };
    Ok(Property { line, key: unescaped(key)?, value: unescaped(value)? })
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                let c = code.and_then(char::from_u32);
                out.push(c.ok_or_else(|| {
                    format!("\\u{digits} is not a character: write four hexadecimal digits after \\u")
                })?);
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        parse_properties(text).expect("parses").into_iter().map(|p| (p.line, p.key, p.value)).collect()
    }

    #[test]
    fn all_forms_of_a_setting_are_read() {
        let text = "# comment\n! another\n\n a = b \nc:d\ne f g\nh\n  i\\ j=k\\=l\nm=\\u00e9\n";
        let expected =
            [(4, "a", "b "), (5, "c", "d"), (6, "e", "f g"), (7, "h", ""), (8, "i j", "k=l"), (9, "m", "é")];
        let expected: Vec<_> = expected.map(|(l, k, v)| (l, k.to_owned(), v.to_owned())).to_vec();
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn a_line_that_ends_in_a_backslash_goes_on() {
        assert_eq!(pairs("a=b,\\\n   c\nd=e\\\\\nf=g")[0].2, "b,c");
        assert_eq!(pairs("a=b,\\\n   c\nd=e\\\\\nf=g")[1], (3, "d".to_owned(), "e\\".to_owned()));
        assert_eq!(pairs("a=b\\")[0].2, "b");
    }

    #[test]
    fn a_bad_escape_names_its_line() {
        let error = parse_properties("a=b\nc=\\u12").expect_err("refused");
        assert_eq!(
            error.to_string(),
            "line 2: c: \\u12 is not a character: write four hexadecimal digits after \\u"
        );
    }
}
