//! The types of config values, what is allowed in them, and Kafka's words for what is not.

/// The type of a config, with its number in DescribeConfigs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum Kind {
    /// Not one of Kafka's configs.
    Unknown = 0,
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32-bit number.
    Int = 3,
    /// 16-bit number.
    Short = 4,
    /// 64-bit number.
    Long = 5,
    /// Floating-point number.
    Double = 6,
    /// Texts with commas between.
    List = 7,
    /// The name of a Java class.
    Class = 8,
    /// Text that is never shown.
    Password = 9,
}

/// What a value must be beside being of its type.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Check {
    /// Anything.
    Any,
    /// A number from here on.
    AtLeast(i64),
    /// A number within bounds, both allowed.
    Between(i64, i64),
    /// A number within bounds, or one other.
    BetweenOr(i64, i64, i64),
    /// A floating-point number within bounds.
    Fraction(f64, f64),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list of some of these.
    ListOf(&'static [&'static str]),
    /// `*`, or a list of `partition:broker`.
    ThrottledReplicas,
}

/// A parsed value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `Boolean`.
    Boolean(bool),
    /// `Int`, `Short` and `Long`.
    Number(i64),
    /// `Double`.
    Double(f64),
    /// `String`, `Class` and `Password`.
    Text(String),
    /// `List`.
    List(Vec<String>),
}

impl Kind {
    /// Kafka's name of the type, as its error messages have it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Unknown => "UNKNOWN",
            Kind::Boolean => "BOOLEAN",
            Kind::String => "STRING",
            Kind::Int => "INT",
            Kind::Short => "SHORT",
            Kind::Long => "LONG",
            Kind::Double => "DOUBLE",
            Kind::List => "LIST",
            Kind::Class => "CLASS",
            Kind::Password => "PASSWORD",
        }
    }

    /// The value that `text` stands for, or what is wrong with it, in Kafka's words.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        let not_a_number = || format!("Not a number of type {}", self.name());
        let number = |min: i64, max: i64| match text.parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) => Ok(Value::Number(n)),
            _ => Err(not_a_number()),
        };
        match self {
            Kind::Boolean if text.eq_ignore_ascii_case("true") => Ok(Value::Boolean(true)),
            Kind::Boolean if text.eq_ignore_ascii_case("false") => Ok(Value::Boolean(false)),
            Kind::Boolean => Err("Expected value to be either true or false".to_owned()),
            Kind::Int => number(i32::MIN.into(), i32::MAX.into()),
            Kind::Short => number(i16::MIN.into(), i16::MAX.into()),
            Kind::Long => number(i64::MIN, i64::MAX),
            Kind::Double => match text.parse::<f64>() {
                Ok(n) if !n.is_nan() => Ok(Value::Double(n)),
                _ => Err(not_a_number()),
            },
            Kind::List => Ok(Value::List(list(text))),
            Kind::Unknown | Kind::String | Kind::Class | Kind::Password => Ok(Value::Text(text.to_owned())),
        }
    }
}

/// The elements of a list: trimmed, each once; an empty text is an empty list.
pub fn list(text: &str) -> Vec<String> {
    let mut elements: Vec<String> = Vec::new();
    if text.trim().is_empty() {
        return elements;
    }
    for element in text.split(',').map(str::trim) {
        if !elements.iter().any(|e| e == element) {
            elements.push(element.to_owned());
        }
    }
    elements
}

impl Check {
    /// What is wrong with a value, in Kafka's words: the value as it shows it, and why.
    pub fn verify(&self, name: &str, value: &Value) -> Result<(), (String, String)> {
        let shown = value.to_string();
        let fail = |why: String| Err((shown.clone(), why));
        match (self, value) {
            (Check::AtLeast(min) | Check::Between(min, _), Value::Number(n)) if n < min => {
                fail(format!("Value must be at least {min}"))
            }
            (Check::Between(_, max), Value::Number(n)) if n > max => {
                fail(format!("Value must be no more than {max}"))
            }
            (Check::BetweenOr(min, max, other), Value::Number(n))
                if n != other && !(min..=max).contains(&n) =>
            {
                fail(format!("Value must be between {min} and {max} or equal to {other}"))
            }
            (Check::Fraction(min, _), Value::Double(n)) if n < min => {
                fail(format!("Value must be at least {min}"))
            }
            (Check::Fraction(_, max), Value::Double(n)) if n > max => {
                fail(format!("Value must be no more than {max}"))
            }
            (Check::OneOf(allowed), Value::Text(text)) if !allowed.contains(&text.as_str()) => {
                fail(format!("String must be one of: {}", allowed.join(", ")))
            }
            (Check::ListOf(allowed), Value::List(elements)) => {
                match elements.iter().find(|e| !allowed.contains(&e.as_str())) {
                    Some(other) => {
                        Err((other.clone(), format!("String must be one of: {}", allowed.join(", "))))
                    }
                    None => Ok(()),
                }
            }
            (Check::ThrottledReplicas, Value::List(elements)) if !throttled_replicas(elements) => Err((
                format!("[{}]", elements.join(", ")),
                format!(
                    "{name} must be the literal '*' or a list of replicas in the following format: \
                     [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// Parses and checks a value; the error is the whole sentence that Kafka answers.
pub fn parse(name: &str, kind: Kind, check: Check, text: &str) -> Result<Value, String> {
    let invalid = |shown: &str, why: &str| format!("Invalid value {shown} for configuration {name}: {why}");
    let value = kind.parse(text).map_err(|why| invalid(text.trim(), &why))?;
    check.verify(name, &value).map_err(|(shown, why)| invalid(&shown, &why))?;
    Ok(value)
}

fn throttled_replicas(elements: &[String]) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match elements {
        [] => true,
        [one] if one == "*" => true,
        many => many.iter().all(|e| e.split_once(':').is_some_and(|(p, b)| number(p) && number(b))),
    }
}

/// The form in which Kafka shows a value.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Boolean(b) => write!(f, "{b}"),
            Value::Number(n) => write!(f, "{n}"),
            Value::Double(n) => f.write_str(&java_double(*n)),
            Value::Text(text) => f.write_str(text),
            Value::List(elements) => f.write_str(&elements.join(",")),
        }
    }
}

/// A floating-point number as Java prints it.
fn java_double(n: f64) -> String {
    let magnitude = n.abs();
    if n.is_infinite() {
        return format!("{}Infinity", if n < 0.0 { "-" } else { "" });
    }
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{n:?}");
    }
    let scientific = format!("{n:E}");
    let (mantissa, exponent) = scientific.split_once('E').expect("the format has an exponent");
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}E{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str, kind: Kind, check: Check, text: &str) -> String {
        parse(name, kind, check, text).expect_err("refused")
    }

    #[test]
    fn refusals_are_in_the_words_of_kafka() {
        // Each line is what Kafka 4.3.1 answers.
        let retention = |text| error("retention.ms", Kind::Long, Check::AtLeast(-1), text);
        assert_eq!(
            retention("abc"),
            "Invalid value abc for configuration retention.ms: Not a number of type LONG"
        );
        assert_eq!(
            retention("-2"),
            "Invalid value -2 for configuration retention.ms: Value must be at least -1"
        );
        assert_eq!(retention(""), "Invalid value  for configuration retention.ms: Not a number of type LONG");
        assert_eq!(
            retention("5.0"),
            "Invalid value 5.0 for configuration retention.ms: Not a number of type LONG"
        );
        assert_eq!(
            error("segment.bytes", Kind::Int, Check::AtLeast(1 << 20), "2147483648"),
            "Invalid value 2147483648 for configuration segment.bytes: Not a number of type INT"
        );
        assert_eq!(
            error("cleanup.policy", Kind::List, Check::ListOf(&["compact", "delete"]), "foo"),
            "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete"
        );
        assert_eq!(
            error("compression.gzip.level", Kind::Int, Check::BetweenOr(1, 9, -1), "0"),
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1"
        );
        assert_eq!(
            error("min.cleanable.dirty.ratio", Kind::Double, Check::Fraction(0.0, 1.0), "2"),
            "Invalid value 2.0 for configuration min.cleanable.dirty.ratio: Value must be no more than 1"
        );
        assert_eq!(
            error("preallocate", Kind::Boolean, Check::Any, "yes"),
            "Invalid value yes for configuration preallocate: Expected value to be either true or false"
        );
        assert!(
            error("leader.replication.throttled.replicas", Kind::List, Check::ThrottledReplicas, "abc")
                .starts_with(
                    "Invalid value [abc] for configuration leader.replication.throttled.replicas: leader."
                )
        );
    }

    #[test]
    fn values_are_shown_in_their_plain_form() {
        let shown = |kind: Kind, text| kind.parse(text).expect("accepted").to_string();
        assert_eq!(shown(Kind::Long, " +5 "), "5");
        assert_eq!(shown(Kind::Boolean, "TRUE"), "true");
        assert_eq!(shown(Kind::List, "compact, delete,compact"), "compact,delete");
        assert_eq!(shown(Kind::List, ""), "");
        assert_eq!(shown(Kind::Double, "1"), "1.0");
        assert_eq!(shown(Kind::Double, "0.5"), "0.5");
        assert_eq!(shown(Kind::Double, "1.7976931348623157E308"), "1.7976931348623157E308");
        assert_eq!(shown(Kind::Double, "10000000"), "1.0E7");
    }
}
