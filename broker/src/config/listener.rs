//! Addresses in configs: `NAME://host:port`.

/// An address to listen on or to tell clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Name, in upper case.
    pub name: String,
    /// Host; empty for all interfaces.
    pub host: String,
    /// Port; 0 for one that is free.
    pub port: u16,
}

impl Listener {
    /// The address in `text`, or what is wrong with it.
    pub fn parse(text: &str) -> Result<Listener, String> {
        let remedy = "give it as NAME://host:port, for example PLAINTEXT://127.0.0.1:9092";
        let (name, address) =
            text.trim().split_once("://").ok_or_else(|| format!("'{text}' has no name: {remedy}"))?;
        let (host, port) =
            address.rsplit_once(':').ok_or_else(|| format!("'{text}' has no port: {remedy}"))?;
        let port = port.parse().map_err(|_| format!("'{port}' is not a port: {remedy}"))?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            return Err(format!("'{name}' is not a listener name: {remedy}"));
        }
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        Ok(Listener { name: name.to_ascii_uppercase(), host: host.to_owned(), port })
    }

    /// All addresses of a list; a name may occur once.
    pub fn parse_list(elements: &[String]) -> Result<Vec<Listener>, String> {
        let mut listeners: Vec<Listener> = Vec::new();
        for element in elements {
            let listener = Listener::parse(element)?;
            if listeners.iter().any(|l| l.name == listener.name) {
                return Err(format!(
                    "listener {} is given twice: give each a name of its own",
                    listener.name
                ));
            }
            listeners.push(listener);
        }
        Ok(listeners)
    }

    /// Whether clients could connect to this address: not if it stands for all interfaces.
    pub fn is_routable(&self) -> bool {
        !matches!(self.host.as_str(), "" | "0.0.0.0" | "::")
    }
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "{}://[{}]:{}", self.name, self.host, self.port),
            false => write!(f, "{}://{}:{}", self.name, self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_its_text() {
        for text in ["PLAINTEXT://127.0.0.1:9092", "PLAINTEXT://:9092", "CLIENT_2://[::1]:0"] {
            assert_eq!(Listener::parse(text).expect(text).to_string(), text);
        }
        assert_eq!(Listener::parse("plaintext://h:1").expect("parses").name, "PLAINTEXT");
        assert!(!Listener::parse("A://0.0.0.0:1").expect("parses").is_routable());
    }

    #[test]
    fn a_bad_address_is_refused_with_an_example() {
        for text in
            ["127.0.0.1:9092", "PLAINTEXT://host", "PLAINTEXT://host:99999", "A B://host:1", "://host:1"]
        {
            let error = Listener::parse(text).expect_err(text);
            assert!(error.contains("for example PLAINTEXT://127.0.0.1:9092"), "{error}");
        }
        let twice = ["A://h:1".to_owned(), "a://h:2".to_owned()];
        assert!(Listener::parse_list(&twice).expect_err("refused").contains("given twice"));
    }
}
