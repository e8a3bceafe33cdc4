//! What a broker needs for a listener with TLS and SCRAM: a key store with a certificate for `localhost`, made by the
//! JDK's keytool, and the same certificate as PEM for clients. For tests only: the store's password is no secret.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};

pub(super) const STORE_PASSWORD: &str = "lightrail";

/// Makes `keystore` and returns the certificate file that clients have to trust.
pub(super) async fn make(keystore: &Path) -> anyhow::Result<PathBuf> {
    let certificate = keystore.with_extension("pem");
    let store = keystore.display().to_string();
    let common = ["-keystore", &store, "-storepass", STORE_PASSWORD, "-alias", "broker"];
    if !keystore.exists() {
        keytool(
            &[
                &common[..],
                &["-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-validity", "30"],
                &["-storetype", "PKCS12", "-dname", "CN=localhost", "-ext", "SAN=dns:localhost,ip:127.0.0.1"],
            ]
            .concat(),
        )
        .await?;
    }
    let file = certificate.display().to_string();
    keytool(&[&common[..], &["-exportcert", "-rfc", "-file", &file]].concat()).await?;
    Ok(certificate)
}

async fn keytool(args: &[&str]) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new("keytool");
    let output = command.args(args).stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.context("cannot run keytool: install a JRE, version 17 or newer")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "keytool could not make a certificate: {}", said.trim());
    Ok(())
}
