//! What is wrong with a file is told with its place and remedy.

use crate::parse;

/// A valid beginning of six lines, so that each case shows only what is wrong.
const VALID: &str = "[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\n[backend.api]\nservers = [\"10.0.0.1:80\"]\n";

fn errors(text: &str) -> String {
    match parse(text) {
        Ok(_) => "no error".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

#[track_caller]
fn wrong_backend(key: &str) -> String {
    errors(&format!("{VALID}{key}\n"))
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_file() {
    println!(
        "{}",
        errors(
            "[frontend.web]\nlisten = [\":80\", \"1.2.3.4\"]\nbackend = \"apl\"\nmax-heads = 4\n[frontend.x]\nprotocol=\"tcp\"\nlisten=\":80\"\nforwarded=\"both\"\n[[frontend.x.route]]\npath=\"x\"\n[backend.api]\nservers = [\"10.0.0.1:80\", \"10.0.0.1:80\", {address=\"a:1\", wieght = 300, name=\"q q\"}]\nhealth = { interval = 5, rise = 0, timeout = \"2\", expect=\"x\" }\n[virtual-ip.main]\npriority = 3\n[cluster]\n[tls.x]\n[procces]\nworkers=3"
        )
    );
    for key in [
        "balance = \"least-conn\"",
        "balance=\"hash\"",
        "balance={hash=\"header\"}",
        "balance={hash=\"header:\"}",
        "balance={hash=\"sourceip\", max-load=\"130%\"}",
        "stick={on=\"source-ip\"}",
        "stick={on=\"cookie:a b\", for=2}",
        "queue={timeout=\"0ms\"}",
        "panic-threshold=50",
        "panic-threshold=\"101%\"",
        "health={http=\"health\",tcp=true}",
        "on-down=\"kep\"",
        "outlier=true",
        "slow-start=\"${X}s\"",
        "timeouts.connect=1.5",
        "max-idle=-1",
        "servers=[]",
        "a = \nb = ]\n",
    ] {
        println!("{}", wrong_backend(key));
    }
    println!("{}", errors(""));
    println!("{}", errors(&format!("{VALID}[virtual-ip.main]\n")));
    println!("{}", errors(&format!("{VALID}[[frontend.web.route]]\n")));
}
