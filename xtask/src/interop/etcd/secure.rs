//! One balancer with an etcd that wants TLS, a certificate and a password.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use catamaran_testkit::{TempDir, free_addr};
use serde_json::Value;

use super::cluster::{Cluster, Tls};
use super::fleet::Balancer;
use super::{endpoints, is};

pub(super) fn run(program: &Path) -> Result<()> {
    let dir = TempDir::create()?;
    let tls = certificates(&dir)?;
    let cluster = Cluster::start(1, Some(tls.clone()))?;
    for words in [
        &["user", "add", "root:toor"][..],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "balancer"],
        &[
            "role",
            "grant-permission",
            "--prefix=true",
            "balancer",
            "readwrite",
            "/catamaran",
        ],
        &["user", "add", "lb:s3cret"],
        &["user", "grant-role", "lb", "balancer"],
        &["auth", "enable"],
    ] {
        cluster.ctl(words)?;
    }
    let password = dir.write("password", "s3cret\n")?;
    let shown = |path: &Path| path.display().to_string();
    let etcd = format!(
        "{}\nca = {:?}\ncertificate = {:?}\nkey = {:?}\nuser = \"lb\"\npassword-file = {:?}\n",
        endpoints(&cluster.endpoints()),
        shown(&tls.ca),
        shown(&tls.certificate),
        shown(&tls.key),
        shown(&password)
    );
    let balancer = Balancer::start(program, "s", &etcd)?;
    balancer.wait_until("etcd is watched", |fleet: &Value| is(fleet, "connected"))?;
    let text = format!(
        "[frontend.web]\nlisten = \"{}\"\nroute = [{{ name = \"all\", respond = {{ status = 204 }} }}]\n",
        free_addr()?
    );
    let put = balancer.put(&text)?;
    ensure!(put["serves"] == true, "{put}\n{}", balancer.log());
    ensure!(!balancer.log().contains("s3cret"), "the password is logged");
    Ok(())
}

/// A certificate of 127.0.0.1 for both sides, and what vouches for it. It has no common name: etcd's
/// gateway takes none from clients.
fn certificates(dir: &TempDir) -> Result<Tls> {
    let script = "set -e
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
          -subj /CN=ca -keyout ca.key -out ca.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
          -subj /O=lb -keyout node.key -out node.csr
        printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' >ext
        openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
          -extfile ext -out node.pem";
    let output = Command::new("bash")
        .args(["-c", script])
        .current_dir(dir.path())
        .output();
    let output = output.context("openssl")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "certificates: {told}");
    let file = |name| dir.path().join(name);
    Ok(Tls {
        ca: file("ca.pem"),
        certificate: file("node.pem"),
        key: file("node.key"),
    })
}
