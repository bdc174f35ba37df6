//! Against protoc and the Python library of Protocol Buffers, which made `all.pb`, `full.hex` and the
//! JSON of it (protoc 6.33; options that it does not know were left out for it).

use std::path::PathBuf;

use serde_json::{Value, json};

use super::schema::Schema;
use super::{decode, encode, parse, read_set};

const OUTER: &str = "test.all.Outer";

fn from_text() -> Schema {
    let mut schema = Schema::default();
    let file = parse::parse("all.proto", include_str!("all.proto")).unwrap();
    schema.add(&[file]).unwrap();
    schema
}

fn from_set() -> Schema {
    let mut schema = Schema::default();
    schema
        .add(&read_set(include_bytes!("all.pb")).unwrap())
        .unwrap();
    schema
}

fn bytes() -> Vec<u8> {
    let digits: String = include_str!("full.hex").split_whitespace().collect();
    let pairs = (0..digits.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn full() -> Value {
    serde_json::from_str(include_str!("full.json")).unwrap()
}

#[test]
fn messages_are_those_of_other_implementations() {
    for schema in [from_text(), from_set()] {
        assert_eq!(decode(&schema, OUTER, &bytes()).unwrap(), full());
        assert_eq!(encode(&schema, OUTER, &full()).unwrap(), bytes());
        let empty: Value = serde_json::from_str(include_str!("empty.json")).unwrap();
        assert_eq!(decode(&schema, OUTER, &[]).unwrap(), empty);
        assert!(encode(&schema, OUTER, &json!({})).unwrap().is_empty());
    }
}

#[test]
fn methods_say_what_they_take_and_whether_they_stream() {
    for schema in [from_text(), from_set()] {
        let method = schema.method("/test.all.Echo/Watch").unwrap();
        assert_eq!(
            (method.input.as_str(), method.output.as_str()),
            (OUTER, OUTER)
        );
        assert!(!method.is_client_streaming && method.is_server_streaming);
        assert!(
            schema
                .method("/test.all.Echo/Push")
                .unwrap()
                .is_client_streaming
        );
        assert_eq!(schema.methods().count(), 4);
    }
}

#[test]
fn what_does_not_fit_the_schema_is_named() {
    let schema = from_text();
    let told = |value: Value| encode(&schema, OUTER, &value).unwrap_err();
    assert!(told(json!({"nothing": 1})).contains("unknown field \"nothing\""));
    assert!(told(json!({"i32": 2147483648_u64})).contains("i32: 2147483648 is no whole number"));
    assert!(
        told(json!({"inner": {"some_name": 5}})).contains("inner: some_name: must be a string")
    );
    assert!(told(json!({"color": "GREEN"})).contains("no value \"GREEN\""));
    assert!(told(json!({"words": "a"})).contains("must be an array"));
    assert!(told(json!({"data": "?"})).contains("base64"));
    assert!(told(json!({"at": "now"})).contains("no time"));
    assert!(told(json!([])).contains("must be an object"));
    // Names as the file has them, numbers as text and floats that are whole are taken, too.
    let same = json!({"packed_ints": ["1", 300, -1.0], "color": -3, "s64": "-3"});
    let value = decode(&schema, OUTER, &encode(&schema, OUTER, &same).unwrap()).unwrap();
    assert_eq!(value["packedInts"], full()["packedInts"]);
    assert_eq!(
        (&value["color"], &value["s64"]),
        (&json!("BLUE"), &json!("-3"))
    );
}

#[test]
fn hostile_bytes_are_refused() {
    let schema = from_text();
    let whole = bytes();
    for len in 0..whole.len() {
        // Whether it ends between two fields or within one: no panic.
        let _ = decode(&schema, OUTER, &whole[..len]);
        let mut turned = whole.clone();
        turned[len] ^= 0xff;
        let _ = decode(&schema, OUTER, &turned);
        let _ = read_set(&turned);
    }
    let mut nested = Vec::new();
    for _ in 0..200 {
        let mut outer = Vec::new();
        super::put_bytes(&mut outer, 2, &nested);
        nested = outer;
    }
    let deep = decode(&schema, "test.all.Outer.Inner", &nested).unwrap_err();
    assert!(deep.contains("too deep"), "{deep}");
    let set = include_bytes!("all.pb");
    for len in 0..set.len() {
        let _ = read_set(&set[..len]);
    }
}

#[test]
fn files_that_cannot_be_read_name_the_line() {
    let told = |source: &str| {
        let mut schema = Schema::default();
        let file = parse::parse("x.proto", source);
        file.and_then(|file| schema.add(&[file])).unwrap_err()
    };
    assert!(
        told("syntax = \"proto3\";\nmessage A {\n string a 1; }")
            .contains("x.proto:3: expected `=`")
    );
    assert!(
        told("message A { B b = 1; }").contains("nothing is called `B`; is an import missing?")
    );
    assert!(told("service S { rpc A(B) returns (C); }").contains("no message is called `B`"));
    assert!(told("message A { string a = x; }").contains("`x` is no number"));
    assert!(told("message A {").contains("ends too early"));
    assert!(told("import \"a").contains("text without an end"));
    assert!(told(&"message A { ".repeat(100)).contains("nested too deep"));
    let missing = Schema::load(
        &[PathBuf::from("/nowhere")],
        &["a.proto".to_owned()],
        &|path| std::fs::read(path),
    );
    assert!(
        missing
            .unwrap_err()
            .contains("`a.proto` is in none of the import paths: /nowhere")
    );
    for len in 0..include_str!("all.proto").len() {
        let _ = parse::parse("x", &include_str!("all.proto")[..len]);
    }
}
