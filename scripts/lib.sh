# Shared by the scripts in this folder: looks for what is needed, installs what is missing where that can be done.
# Sourced, not run.

say() { printf '%s\n' "== $*" >&2; }
die() { printf '%s\n' "$*" >&2; exit 1; }

# as_root COMMAND...: runs it as root, if we are root or may become it without being asked for a password.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo "$@"
    else
        return 1
    fi
}

# need_packages "why" package...: installs Debian packages, or names them.
need_packages() {
    why=$1
    shift
    say "$why: missing, installing $*"
    if command -v apt-get >/dev/null; then
        if { as_root apt-get install -y --no-install-recommends "$@" ||
            { as_root apt-get update && as_root apt-get install -y --no-install-recommends "$@"; }; } </dev/null >&2; then
            return 0
        fi
        die "could not install: $*
Please install these packages (as root: apt-get install $*) and run this script again."
    fi
    die "missing: $why
On Debian and Ubuntu the packages are: $*
Please install the like of them with your system's package manager and run this script again."
}

# What librdkafka's build needs: a C and a C++ compiler, make, OpenSSL; zlib comes with headers of its own through cargo or the system.
ensure_compilers() {
    missing=""
    for tool in cc c++ make; do
        command -v "$tool" >/dev/null || missing="$missing build-essential"
    done
    command -v cmake >/dev/null || missing="$missing cmake"
    command -v pkg-config >/dev/null || missing="$missing pkg-config"
    pkg-config --exists 'openssl >= 3' 2>/dev/null || missing="$missing libssl-dev"
    if [ -n "$missing" ]; then
        # shellcheck disable=SC2046,SC2086  # a list of words is meant
        need_packages "a C/C++ compiler, make, cmake, pkg-config and OpenSSL 3 with its headers (for librdkafka)" \
            $(printf '%s\n' $missing | sort -u) ca-certificates
    fi
}

# A Rust toolchain. The version is in rust-toolchain.toml; rustup fetches it by itself.
ensure_rust() {
    bin="${CARGO_HOME:-$HOME/.cargo}/bin"
    if ! command -v cargo >/dev/null && [ -x "$bin/cargo" ]; then
        PATH="$bin:$PATH"
        export PATH
    fi
    command -v cargo >/dev/null || install_rust
    cargo --version >/dev/null || die "cargo is installed but does not run; see above"
}

install_rust() {
    command -v apt-get >/dev/null && as_root apt-get update </dev/null >/dev/null 2>&1 || true
    if apt-cache policy rustup 2>/dev/null | grep -q 'Candidate: [^(]'; then
        need_packages "a Rust toolchain" rustup
        rustup toolchain install "$(wanted_rust)" --profile minimal --component rustfmt --component clippy >&2
        return
    fi
    command -v curl >/dev/null || need_packages "curl (to fetch rustup)" curl ca-certificates
    say "a Rust toolchain: missing, installing rustup from https://sh.rustup.rs for this user"
    installer=$(mktemp)
    if curl --proto '=https' --tlsv1.2 -sSf -o "$installer" https://sh.rustup.rs &&
        sh "$installer" -y --no-modify-path --profile minimal --default-toolchain "$(wanted_rust)" \
            --component rustfmt --component clippy </dev/null >&2; then
        rm -f "$installer"
        PATH="$bin:$PATH"
        export PATH
    else
        rm -f "$installer"
        die "could not install Rust.
Please install Rust $(wanted_rust) or later (see https://rustup.rs) and run this script again."
    fi
}

wanted_rust() { sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml; }

# What tests on real Kafka need: a JRE 17 or later (with its keytool), Maven, kcat, openssl, curl, jq.
ensure_kafka_tools() {
    missing=""
    java_works || missing="$missing default-jre-headless"
    command -v mvn >/dev/null || missing="$missing maven"
    command -v kcat >/dev/null || missing="$missing kcat"
    command -v openssl >/dev/null || missing="$missing openssl"
    command -v curl >/dev/null || missing="$missing curl"
    command -v jq >/dev/null || missing="$missing jq"
    if [ -n "$missing" ]; then
        # shellcheck disable=SC2086  # a list of words is meant
        need_packages "what tests on real Kafka need (Java 17 or later, Maven, kcat, openssl, curl, jq)" $missing
        java_works || die "the Java that was installed is older than 17; please install a newer one"
    fi
}

java_works() {
    command -v java >/dev/null || return 1
    major=$(java -version 2>&1 </dev/null | sed -n 's/^[a-z]* version "\([0-9]*\).*/\1/p')
    [ -n "$major" ] && [ "$major" -ge 17 ]
}
