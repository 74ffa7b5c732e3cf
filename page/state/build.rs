//! Lists the keys of `www/messages/en.json` with their placeholders, so that the compiler rejects a message that does
//! not exist.

use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

const MESSAGES: &str = "../../www/messages/en.json";

fn main() {
    println!("cargo:rerun-if-changed={MESSAGES}");
    println!("cargo:rerun-if-changed=build.rs");
    let json = std::fs::read_to_string(MESSAGES).expect("the English messages");
    let messages: Map<String, Value> = serde_json::from_str(&json).expect("the English messages are a JSON object");
    let mut list = String::from("pub(super) const MESSAGES: &[(&str, &[&str])] = &[\n");
    for (key, message) in &messages {
        let places: Vec<String> = places(message).into_iter().filter(|name| name != "n").collect();
        writeln!(list, "    ({key:?}, &{places:?}),").expect("a string takes what is written to it");
    }
    list.push_str("];\n");
    let folder = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    std::fs::write(Path::new(&folder).join("message_keys.rs"), list).expect("OUT_DIR is writable");
}

/// The names in braces, over all plural forms.
fn places(message: &Value) -> BTreeSet<String> {
    match message {
        Value::String(text) => {
            let names = text.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
            names.map(|(name, _)| name.to_owned()).collect()
        }
        Value::Object(forms) => forms.values().flat_map(places).collect(),
        other => panic!("{other} is neither a text nor a set of plural forms"),
    }
}
