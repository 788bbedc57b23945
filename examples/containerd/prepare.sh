# shellcheck shell=bash disable=SC2034,SC2154
#
# What the examples with containerd do before they enter their namespaces, beyond ../prepare.sh: its packages, its client, the folders.
# Sourced by their `run`, which sets `top` and `example`.

# shellcheck source-path=SCRIPTDIR source=../prepare.sh
. "$top/examples/prepare.sh"
# One for all examples with containerd.
cache=$target/containerd

# containerd of the suite, with runc and busybox of bookworm's age: newer ones want newer libraries.
fetch_runtime() { # SUITE
    fetch bookworm containerd runc busybox-static || fail "containerd and runc of Debian bookworm cannot be had today"
    [ "$1" = bookworm ] || fetch "$1" containerd || fail "containerd of Debian $1 cannot be had today"
    # portmap only; the example goes on without it.
    "$top/scripts/fetch-reference" >/dev/null || echo "portmap cannot be had: no host port today"
}

build() {
    build_plugins
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
    # What these were in, unless somebody else has some there.
    rmdir /sys/fs/cgroup/k8s.io /sys/fs/cgroup/*/k8s.io 2>/dev/null || true
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
    install_plugins "$work/cni/plugins"
    for plugin in "$work"/cni/plugins/*; do record "${plugin##*/}"; done
    if [ -x "$portmap" ]; then
        install "$portmap" "$work/cni/plugins/"
        record portmap
    fi
    install "$cache/target/release/cri-walk" "$work/"
}

# Runs a command in namespaces of its own, with containerd of a suite, runc and busybox in PATH.
enter_with() { # SUITE COMMAND…
    local suite=$1; shift
    PATH=$cache/$suite/usr/bin:$cache/bookworm/usr/sbin:$cache/bookworm/bin:$PATH enter "$@"
}
