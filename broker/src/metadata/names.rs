//! What a topic may be called, in Kafka's rules and words.

/// Longest name of a topic.
pub const TOPIC_NAME_LENGTH_MAX: usize = 249;

/// Kafka's own metadata log: a name that no topic may have.
pub const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// Whether a topic may have this name; the error is the sentence that Kafka answers with INVALID_TOPIC_EXCEPTION.
pub fn check_topic_name(name: &str) -> Result<(), String> {
    let why = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." | ".." => format!("'{name}' is not allowed"),
        _ if name.encode_utf16().count() > TOPIC_NAME_LENGTH_MAX => {
            format!("the length of '{name}' is longer than the max allowed length {TOPIC_NAME_LENGTH_MAX}")
        }
        _ if name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) => {
            return Ok(());
        }
        _ => format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ),
    };
    Err(format!("Topic name is invalid: {why}"))
}

/// The form of a name in which those that collide are alike: metrics of Kafka's ecosystem make `_` of every `.`. None for
/// names that have neither.
pub fn collision_form(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

/// Whether a topic of that name belongs to the brokers and not to users.
pub fn is_internal_topic(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_refused_in_the_words_of_kafka() {
        // Each line is what Kafka 4.3.1 answers.
        let refusal = |name: &str| check_topic_name(name).expect_err(name);
        assert_eq!(refusal("."), "Topic name is invalid: '.' is not allowed");
        assert_eq!(
            refusal("a b"),
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        );
        assert!(refusal(&"x".repeat(250)).ends_with("is longer than the max allowed length 249"));
        assert_eq!(check_topic_name(&"x".repeat(249)), Ok(()));
        assert_eq!(check_topic_name("ok_a.B-9"), Ok(()));
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert_eq!(collision_form("a.b_c"), collision_form("a_b.c"));
        assert_eq!(collision_form("abc"), None);
    }
}
