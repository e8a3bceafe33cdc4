//! The jars of Apache Kafka: fetched once from Maven Central by a pinned pom, kept in a cache folder outside the build
//! tree, and never looked for on the network again. Safe beside others who want the same at the same time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// The version that the pom names; a test compares.
pub const VERSION: &str = "4.3.1";

const POM: &str = include_str!("../../kafka/pom.xml");
const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";
const FETCH_WITHIN: Duration = Duration::from_secs(600);

/// Where downloads are kept: `LIGHTRAIL_CACHE`, else `lightrail` in the user's cache folder.
///
/// # Errors
/// When neither it nor a home folder is known, or it cannot be made.
pub fn cache() -> anyhow::Result<PathBuf> {
    let home = |below: &str| std::env::var_os("HOME").map(|home| Path::new(&home).join(below));
    let folder = std::env::var_os("LIGHTRAIL_CACHE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("lightrail")))
        .or_else(|| home(".cache/lightrail"))
        .context("no cache folder: set LIGHTRAIL_CACHE")?;
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// The folder with the jars; fetches them where they are not there yet.
///
/// # Errors
/// When Maven is missing or cannot fetch.
pub async fn folder() -> anyhow::Result<PathBuf> {
    let cache = cache()?;
    let folder = cache.join(format!("kafka-{VERSION}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    let _lock = lock(&cache).await?;
    if !folder.is_dir() {
        fetch(&cache, &folder).await?;
    }
    Ok(folder)
}

/// Waits until nobody else fetches or prepares; that ends when what is returned is dropped.
pub(crate) async fn lock(cache: &Path) -> anyhow::Result<File> {
    let path = cache.join(format!("kafka-{VERSION}.lock"));
    let locking = tokio::task::spawn_blocking(move || -> std::io::Result<File> {
        let file = File::create(path)?;
        file.lock()?;
        Ok(file)
    });
    locking.await?.context("cannot lock the cache folder")
}

/// Into a temporary folder first: a fetch that is interrupted leaves no half of a broker.
async fn fetch(cache: &Path, folder: &Path) -> anyhow::Result<()> {
    tracing::info!(version = VERSION, folder = %folder.display(), "fetching Apache Kafka from Maven Central, once");
    let building =
        tempfile::Builder::new().prefix(".kafka-").tempdir_in(cache).context("cannot write to the cache")?;
    let pom = building.path().join("pom.xml");
    std::fs::write(&pom, POM).context("cannot write the pom")?;
    let jars = building.path().join("jars");
    let mut maven = tokio::process::Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(&pom).arg(PLUGIN).arg(format!("-DoutputDirectory={}", jars.display()));
    maven.current_dir(building.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(FETCH_WITHIN, maven.output())
        .await
        .context("maven did not end within 10 minutes")?
        .context("cannot run mvn: install the package `maven`")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "maven could not fetch Apache Kafka {VERSION}: {}", said.trim());
    let broker = jars.join(format!("kafka_2.13-{VERSION}.jar"));
    ensure!(broker.is_file(), "maven ended well, but {} is not there", broker.display());
    std::fs::rename(&jars, folder).with_context(|| format!("cannot put {} in place", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pom_names_the_version() {
        assert!(
            POM.contains(&format!("<artifactId>kafka_2.13</artifactId>\n      <version>{VERSION}</version>"))
        );
    }
}
