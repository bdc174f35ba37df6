//! The files in `docs/examples` load as they are, and so do the blocks in the texts around them.

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
fn the_configurations_of_the_deployments_load_without_warnings() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    for name in ["compose", "kubernetes"] {
        match catamaran_config::load(&directory.join(name).join("catamaran.toml")) {
            Ok(loaded) => assert_eq!(loaded.warnings, []),
            Err(errors) => panic!("{errors}"),
        }
    }
}

#[test]
fn every_configuration_shown_in_the_documentation_loads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for file in [
        "README.md",
        "docs/cloud.md",
        "docs/migrate-haproxy.md",
        "docs/operations.md",
        "docs/routing.md",
    ] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let blocks: Vec<_> = text
            .split("```toml\n")
            .skip(1)
            .filter_map(|rest| rest.split_once("```"))
            .collect();
        assert!(!blocks.is_empty(), "{file} shows none");
        for (block, _) in blocks {
            let no_file = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
            match catamaran_config::parse(block, file, &|_| None, &no_file) {
                Ok(loaded) => assert_eq!(loaded.warnings, []),
                Err(errors) => panic!("{errors}\n{block}"),
            }
        }
    }
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
