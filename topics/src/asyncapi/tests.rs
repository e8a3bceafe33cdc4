//! The document in the repository is the one that the types give, its references resolve, and every golden message fits
//! the schema that it publishes.

use std::path::PathBuf;

use super::*;

fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_document_is_in_step_with_the_types() {
    let ours = format!("{:#}\n", document());
    let path = file("asyncapi.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &ours).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(ours == there, "topics/asyncapi.json is not what the types give; UPDATE=1 writes it");
}

fn resolve<'a>(document: &'a Value, reference: &str) -> &'a Value {
    let pointer = reference.strip_prefix('#').unwrap();
    document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

fn follow_all(document: &Value, value: &Value, followed: &mut usize) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                resolve(document, reference);
                *followed += 1;
            }
            members.values().for_each(|member| follow_all(document, member, followed));
        }
        Value::Array(members) => members.iter().for_each(|member| follow_all(document, member, followed)),
        _ => {}
    }
}

#[test]
fn every_reference_resolves() {
    let (document, mut followed) = (document(), 0);
    follow_all(&document, &document, &mut followed);
    assert!(followed > 50, "{followed}");
}

/// The part of JSON Schema that our schemas use; a keyword that it does not know fails, so that none is passed over.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Value::Object(schema) = schema else { return Ok(()) };
    for (keyword, rule) in schema {
        let list = || rule.as_array().unwrap().iter();
        let holds = match keyword.as_str() {
            "$ref" => {
                fits(document, resolve(document, rule.as_str().unwrap()), value, at)?;
                true
            }
            "allOf" => {
                for part in list() {
                    fits(document, part, value, at)?;
                }
                true
            }
            "anyOf" | "oneOf" => list().any(|part| fits(document, part, value, at).is_ok()),
            "type" => match rule {
                Value::Array(types) => types.iter().any(|one| has_type(value, one)),
                one => has_type(value, one),
            },
            "const" => value == rule,
            "enum" => list().any(|one| one == value),
            "required" => list().all(|field| value.get(field.as_str().unwrap()).is_some()),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            "properties" => {
                for (name, property) in rule.as_object().unwrap() {
                    if let Some(member) = value.get(name) {
                        fits(document, property, member, &format!("{at}/{name}"))?;
                    }
                }
                true
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(document, rule, item, &format!("{at}/{index}"))?;
                }
                true
            }
            "additionalProperties" => rule == &Value::Bool(true),
            // Kept by the types' own tests, or words for people.
            "pattern" | "format" | "description" | "examples" | "default" | "title" => true,
            unknown => return Err(format!("{at}: the test does not know `{unknown}`")),
        };
        if !holds {
            return Err(format!("{at}: {value} breaks {keyword}: {rule}"));
        }
    }
    Ok(())
}

fn has_type(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("type {other}"),
    }
}

#[test]
fn every_golden_message_fits_its_published_schema() {
    let document = document();
    for kind in Kind::ALL {
        let path = file("golden").join(format!("{kind}.v{}.json", kind.version()));
        let golden: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let message = &document["components"]["messages"][kind.as_str()];
        for part in ["payload", "headers"] {
            fits(&document, &message[part], &golden[part], part)
                .unwrap_or_else(|why| panic!("{kind}: {why}"));
        }
        // And the schema says something: not every field may lack.
        let Some(payload) = golden["payload"].as_object() else { continue };
        let fits_without = |field: &String| {
            let mut less = payload.clone();
            less.remove(field);
            fits(&document, &message["payload"], &less.into(), "payload").is_ok()
        };
        assert!(!payload.keys().all(fits_without), "{kind}: its schema asks for nothing");
    }
}
