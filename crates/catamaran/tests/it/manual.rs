//! What the program brings for the shell and for man(1).

use crate::{PATIENCE, catamaran};
use catamaran_testkit::TempDir;

#[test]
fn shells_complete_the_command_line() {
    for shell in ["bash", "zsh", "fish"] {
        let mut process = catamaran(&["completions", shell]).start().unwrap();
        assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(0));
        process.wait_for_stdout("maintenance", PATIENCE).unwrap();
    }
}

#[test]
fn the_manual_is_written_where_man_finds_it() {
    let directory = TempDir::create().unwrap();
    let at = directory.path().join("share/man");
    let mut process = catamaran(&["man", at.to_str().unwrap()]).start().unwrap();
    assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(0));
    for page in [
        "man1/catamaran.1",
        "man1/catamaran-run.1",
        "man5/catamaran.toml.5",
    ] {
        let text = std::fs::read_to_string(at.join(page)).unwrap();
        assert!(text.contains(".SH \"SEE ALSO\""), "{page}");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let mut process = catamaran(&["man", "/dev/null/man"]).start().unwrap();
    assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(1));
    process
        .wait_for_stderr(
            "/dev/null/man/man1/catamaran.1: cannot be written",
            PATIENCE,
        )
        .unwrap();
}
