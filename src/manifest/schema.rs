//! The JSON Schema of `kbuild.toml`, for editors; made from the types that the parser itself uses.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw::RawManifest;

/// See [`super::schema()`].
pub(super) fn schema() -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<RawManifest>().to_value();
    without_null(&mut schema);
    schema
}

/// TOML has no null: only `required` says whether a key may be left out.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(parts) => parts.iter_mut().for_each(without_null),
        Value::Object(parts) => {
            parts.retain(|key, value| !(key == "default" && value.is_null()));
            if let Some(Value::Array(types)) = parts.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    parts.insert("type".to_owned(), only);
                }
            }
            parts.values_mut().for_each(without_null);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written again by `KBUILD_UPDATE_DOCS=1 cargo test --lib manifest::schema`.
    #[test]
    fn the_documented_schema_is_current() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/kbuild.schema.json");
        let text = format!("{:#}\n", schema());
        if std::env::var_os("KBUILD_UPDATE_DOCS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let documented = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(documented == text, "run `KBUILD_UPDATE_DOCS=1 cargo test --lib manifest::schema`");
    }
}
