# shellcheck shell=bash disable=SC2034,SC2154
#
# The preparation of the examples with real runtimes, outside their namespaces: checks requirements,
# fetches packages, builds. Sourced by their `run`, which sets `top` and `example`.

target=${CARGO_TARGET_DIR:-$top/target}
cache=$target/$example
PATH=$PATH:/usr/sbin:/sbin

fail() { printf 'examples/%s: %s\n' "$example" "$*" >&2; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || fail "needs root, for mounts and cgroups"; }
need() { # TOOL…
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || fail "the program $tool is missing"
    done
}

# Debian packages of a suite, unpacked to $cache/SUITE and not installed. It is called as a
# condition, which disables `set -e`: hence the `|| return` after each step that can fail.
fetch() { # SUITE PACKAGE…
    local suite=$1 folder=$cache/$1 deb
    shift
    [ ! -e "$folder/.complete" ] || return 0
    rm -rf "$folder" && mkdir -p "$folder/debs" || return
    "$top/scripts/private-apt" "$cache/apt" "$suite" -qq update || return
    (cd "$folder/debs" && "$top/scripts/private-apt" "$cache/apt" "$suite" -qq download "$@") || return
    for deb in "$folder"/debs/*.deb; do dpkg-deb -x "$deb" "$folder" || return; done
    rm -r "$folder/debs" && touch "$folder/.complete"
}

build_plugins() { cargo build --locked --release --manifest-path "$top/Cargo.toml" -p cni-plugins; }
install_plugins() { "$target/release/cni-plugins" --install "$1"; } # FOLDER

# Runs a command as the first process of namespaces of its own.
enter() { # COMMAND…
    unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private "$@"
}
