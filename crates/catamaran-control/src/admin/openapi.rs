//! The description of the API, made of the table of operations and of the types that are sent.

use super::routes::{Operation, operations};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// What every refusal looks like.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what `Refused` writes")]
struct Refusal {
    error: RefusalTold,
}

/// Why a request was refused.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what `Refused` writes")]
struct RefusalTold {
    /// A word for programs.
    code: String,
    /// A sentence for people, with the remedy.
    message: String,
}

/// The description as OpenAPI 3.1.
pub(crate) fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let refusal = Value::from(schemas.subschema_for::<Refusal>());
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let described = describe(&operation, &mut schemas, &refusal);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "catamaran admin API",
            "version": "1",
            "description": "What an operator sees and changes at run time. See docs/admin.md.",
        },
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Asked for over TCP where `[admin] token-file` is written.",
                },
            },
        },
    })
}

fn describe(operation: &Operation, schemas: &mut SchemaGenerator, refusal: &Value) -> Value {
    let in_path = operation.path.split(['{', '}']).skip(1).step_by(2);
    let mut parameters: Vec<Value> = in_path
        .map(|name| {
            json!({
                "name": name,
                "in": "path",
                "required": true,
                "schema": { "type": "string", "minLength": 1 },
            })
        })
        .collect();
    parameters.extend(operation.query.iter().map(|parameter| {
        let mut schema = json!({ "type": parameter.kind });
        if parameter.kind == "integer" {
            schema["minimum"] = json!(0);
        }
        json!({
            "name": parameter.name,
            "in": "query",
            "required": parameter.required,
            "description": parameter.doc,
            "schema": schema,
        })
    }));
    let content = |schema: Value| json!({ "application/json": { "schema": schema } });
    let media = operation.media;
    let answer = (operation.answer)(schemas);
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            "200": { "description": "Done.", "content": { media: { "schema": answer } } },
            "4XX": { "description": "Refused.", "content": content(refusal.clone()) },
        },
    });
    if let Some(body) = operation.body {
        let schema = body(schemas);
        described["requestBody"] = json!({ "required": true, "content": content(schema.into()) });
    }
    described
}

/// What is checked in describes a program that has everything in it.
#[cfg(all(test, feature = "etcd"))]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_checked_in_description_is_the_one_that_is_served() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let path = docs.join("openapi.json");
        let expected = format!("{:#}\n", document());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &expected).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == expected,
            "run UPDATE_DOCS=1 cargo test -p catamaran-control"
        );
    }

    #[test]
    fn every_operation_stands_in_the_manual() {
        const BEGIN: &str = "| operation | does |\n| --- | --- |\n";
        let rows = operations().into_iter().map(|operation| {
            let method = operation.method.to_uppercase();
            format!(
                "| `{method} {}` | {} |\n",
                operation.path, operation.summary
            )
        });
        let rows: String = rows.collect();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/admin.md");
        let manual = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = manual.split_once(BEGIN).unwrap();
        let end = rest.find("\n\n").map_or(rest.len(), |end| end + 1);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, format!("{before}{BEGIN}{rows}{}", &rest[end..])).unwrap();
            return;
        }
        assert!(
            rest[..end] == rows,
            "run UPDATE_DOCS=1 cargo test -p catamaran-control"
        );
    }

    #[test]
    fn operations_have_names_of_their_own_and_say_what_they_do() {
        let all = operations();
        for (index, operation) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other.id != operation.id));
            assert!(operation.summary.ends_with('.'), "{}", operation.id);
            let changes = operation.method != "get";
            let has_body = operation.body.is_some();
            assert_eq!(
                has_body,
                changes && operation.method != "delete",
                "{}",
                operation.id
            );
        }
    }
}
