//! Configuration text: never a panic, and every finding lies in the text it is about.
#![no_main]

use std::io::ErrorKind;
use std::path::Path;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let variable = |name: &str| (name == "A").then(|| "10.0.0.1:80".to_owned());
    let no_file = |_: &Path| Err(ErrorKind::NotFound.into());
    match catamaran_config::parse(text, "c.toml", &variable, &no_file) {
        // What loads once loads again, to the same.
        Ok(loaded) => {
            let again = catamaran_config::parse(text, "c.toml", &variable, &no_file);
            assert!(again.is_ok_and(|again| again == loaded));
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
});
