//! Names for contents.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// SHA-256 of a JSON value, in hexadecimal, whatever the order its objects were written in.
pub(crate) fn digest(value: &Value) -> String {
    let bytes = Sha256::digest(sorted(value).to_string());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value with its objects in the order of their keys. serde_json has them so unless some
/// crate of the build asks it to keep the order of the text.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().collect();
            let members = members.into_iter();
            members
                .map(|(key, value)| (key.clone(), sorted(value)))
                .collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_python() {
        // hashlib.sha256(json.dumps(v, sort_keys=True, separators=(",", ":")).encode())
        let value: Value =
            serde_json::from_str(r#"{"b": [1, 0.1, null], "a": {"d": "x", "c": true}}"#).unwrap();
        assert_eq!(
            digest(&value),
            "9c7cd9ae73bbd1e374f7af90e04dc2948f3681442ef00d79fc8b104b8d35bb6a"
        );
    }
}
