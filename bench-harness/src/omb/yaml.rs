//! YAML to the value model of serde, so that a file with a field that nobody reads is refused by name.

use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// Reads one document.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let documents = YamlLoader::load_from_str(text).map_err(|error| format!("not YAML: {error}"))?;
    let [document] = documents.as_slice() else {
        return Err(format!("there must be one YAML document, and there are {}", documents.len()));
    };
    serde_json::from_value(value(document)?).map_err(|error| error.to_string())
}

fn value(yaml: &Yaml) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Boolean(value) => Value::Bool(*value),
        Yaml::Integer(value) => Value::Number((*value).into()),
        Yaml::Real(text) => {
            let number = text.parse().ok().and_then(Number::from_f64);
            Value::Number(number.ok_or_else(|| format!("`{text}` is no number"))?)
        }
        Yaml::String(text) => Value::String(text.clone()),
        Yaml::Array(items) => Value::Array(items.iter().map(value).collect::<Result<_, _>>()?),
        Yaml::Hash(fields) => {
            let mut map = Map::new();
            for (key, field) in fields {
                let key = key.as_str().ok_or("a field's name must be text")?;
                map.insert(key.to_owned(), value(field)?);
            }
            Value::Object(map)
        }
        Yaml::Alias(_) | Yaml::BadValue => return Err("YAML aliases are not supported".to_owned()),
    })
}
