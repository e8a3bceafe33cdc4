//! The mover's configuration for the demo, as text. Pure.

use std::path::Path;

/// Where the parts are.
#[derive(Debug)]
pub(super) struct Places<'a> {
    pub(super) bootstrap: &'a str,
    /// Before all topics, the logbook's too.
    pub(super) prefix: &'a str,
    pub(super) journal: &'a Path,
    /// Door and prefix.
    pub(super) slac: (&'a str, &'a str),
    pub(super) nersc: (&'a str, &'a str),
    pub(super) logbook: &'a str,
    pub(super) http: u16,
    /// A file with the token that wishes need.
    pub(super) token: &'a Path,
}

/// The file.
pub(super) fn text(places: &Places<'_>) -> String {
    let Places { bootstrap, prefix, journal, slac, nersc, logbook, http, token } = places;
    format!(
        "# Made by the demo.
mover = \"demo\"
source = \"SLAC\"
start_from = \"earliest\"

[kafka]
bootstrap = [\"{bootstrap}\"]
prefix = \"{prefix}\"

[kafka.logbook]
runs = \"{prefix}runs\"
file_catalog = \"{prefix}file_catalog\"
experiments = \"{prefix}experiments\"

[journal]
folder = \"{journal}\"
reserve = \"64MiB\"

[sites.SLAC]
door = \"{slac_door}\"
prefix = \"{slac_prefix}\"

[sites.NERSC]
door = \"{nersc_door}\"
prefix = \"{nersc_prefix}\"

[experiments.default]
to = [\"NERSC\"]

[logbook]
url = \"{logbook}\"
user = \"psdatmgr\"

[http]
listen = \"127.0.0.1:{http}\"
token_file = \"{token}\"
",
        journal = journal.display(),
        token = token.display(),
        slac_door = slac.0,
        slac_prefix = slac.1,
        nersc_door = nersc.0,
        nersc_prefix = nersc.1,
    )
}
