//! The files in `docs/examples` load as they are.

use std::path::Path;

#[test]
fn every_example_loads_without_warnings() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    let mut count = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        match catamaran_config::load(&path) {
            Ok(loaded) => assert_eq!(loaded.warnings, []),
            Err(errors) => panic!("{errors}"),
        }
        count += 1;
    }
    assert!(count >= 4);
}

#[test]
fn a_file_that_is_not_there_is_told_with_its_remedy() {
    let errors = catamaran_config::load(Path::new("nowhere/catamaran.toml")).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "nowhere/catamaran.toml: cannot be read: No such file or directory (os error 2); write \
         the file, or name another with `-c FILE`"
    );
}
