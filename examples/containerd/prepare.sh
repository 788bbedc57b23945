# shellcheck shell=bash disable=SC2034,SC2154
#
# What the examples with containerd do before they enter their namespaces: fetch, build, lay out. Sourced by their `run`,
# which sets `top` and `example`.

target=${CARGO_TARGET_DIR:-$top/target}
cache=$target/containerd
PATH=$PATH:/usr/sbin:/sbin

fail() { printf 'examples/%s: %s\n' "$example" "$*" >&2; exit 1; }

need() { # TOOL…
    [ "$(id -u)" = 0 ] || fail "needs root: containerd mounts file systems and makes cgroups"
    for tool in "$@"; do
        command -v "$tool" >/dev/null || fail "the program $tool is missing"
    done
}

fetch() { # SUITE PACKAGE…: unpacked to $cache/SUITE
    local suite=$1; shift
    [ ! -e "$cache/$suite/.complete" ] || return 0
    rm -rf "${cache:?}/$suite" && mkdir -p "$cache/$suite/debs"
    "$top/scripts/private-apt" "$cache/apt" "$suite" -qq update
    (cd "$cache/$suite/debs" && "$top/scripts/private-apt" "$cache/apt" "$suite" -qq download "$@")
    for deb in "$cache/$suite"/debs/*.deb; do dpkg-deb -x "$deb" "$cache/$suite"; done
    rm -r "$cache/$suite/debs" && touch "$cache/$suite/.complete"
}

# containerd of the suite, with runc and busybox of bookworm's age: newer ones want newer libraries.
fetch_runtime() { # SUITE
    fetch bookworm containerd runc busybox-static || fail "containerd and runc of Debian bookworm cannot be had today"
    [ "$1" = bookworm ] || fetch "$1" containerd || fail "containerd of Debian $1 cannot be had today"
    # portmap only; the example goes on without it.
    "$top/scripts/fetch-reference" >/dev/null || echo "portmap cannot be had: no host port today"
}

build() {
    cargo build --locked --release --manifest-path "$top/Cargo.toml" -p bridge -p loopback -p host-local
    CARGO_TARGET_DIR=$cache/target cargo build --locked --release --manifest-path "$top/examples/containerd/Cargo.toml"
}

record() { # NAME: the recorder in the place of a plugin
    install "$cache/target/release/cri-walk" "$work/cni/bin/$1"
}

# A run that did not get to its end leaves containers' cgroups, which are the machine's. containerd's state names them.
clear_away() {
    local bundle
    for bundle in "$work"/state/io.containerd.runtime.v2.task/k8s.io/*; do
        [ ! -d "$bundle" ] || find /sys/fs/cgroup -depth -type d -path "*/k8s.io/${bundle##*/}" -exec rmdir {} + || true
    done
    rm -rf --one-file-system "$work"
}

# Makes $work, to be removed at exit, with the plugins, and the recorder in their place. Below the target directory and not below
# /tmp: overlayfs and the runtime's socket need a real file system and a short path, and a name of its own lets two runs be
# at once.
lay_out() {
    work=$(mktemp -d "$cache/run.XXXXXX")
    trap clear_away EXIT
    mkdir -p "$work"/{cni/bin,cni/plugins,conf,log}
    local plugin portmap=$top/target/reference/latest/portmap
    for plugin in bridge loopback host-local; do
        install "$target/release/$plugin" "$work/cni/plugins/"
        record "$plugin"
    done
    if [ -x "$portmap" ]; then
        install "$portmap" "$work/cni/plugins/"
        record portmap
    fi
    install "$cache/target/release/cri-walk" "$work/"
}

# Runs a command with containerd of a suite, runc and busybox in PATH, as the first process of namespaces of its own.
enter() { # SUITE COMMAND…
    local suite=$1; shift
    PATH=$cache/$suite/usr/bin:$cache/bookworm/usr/sbin:$cache/bookworm/bin:$PATH \
        unshare --net --mount --pid --fork --kill-child --propagation private "$@"
}
