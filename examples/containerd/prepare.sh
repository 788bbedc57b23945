# shellcheck shell=bash disable=SC2034,SC2154
#
# The preparation of the examples with containerd, in addition to ../prepare.sh: its packages, its
# client, the folders. Sourced by their `run`, which sets `top` and `example`.

# shellcheck source-path=SCRIPTDIR source=../prepare.sh
. "$top/examples/prepare.sh"
# One for all examples with containerd.
cache=$target/containerd

# containerd from the suite, with runc and busybox from bookworm, since newer versions need newer
# libraries.
fetch_runtime() { # SUITE
    fetch bookworm containerd runc busybox-static || fail "containerd and runc of Debian bookworm cannot be had today"
    [ "$1" = bookworm ] || fetch "$1" containerd || fail "containerd of Debian $1 cannot be had today"
    # Only for portmap; the example also works without it.
    "$top/scripts/fetch-reference" >/dev/null || echo "portmap cannot be had: no host port today"
}

build() {
    build_plugins
    CARGO_TARGET_DIR=$cache/target cargo build --locked --release --manifest-path "$top/examples/containerd/Cargo.toml"
}

record() { # NAME: the recorder in the place of a plugin
    install "$cache/target/release/cri-walk" "$work/cni/bin/$1"
}

# A run that was interrupted leaves cgroups of containers on the machine. containerd's state names
# them.
clear_away() {
    local bundle
    for bundle in "$work"/state/io.containerd.runtime.v2.task/k8s.io/*; do
        [ ! -d "$bundle" ] || find /sys/fs/cgroup -depth -type d -path "*/k8s.io/${bundle##*/}" -exec rmdir {} + || true
    done
    # Their parent folders, unless other programs use them.
    rmdir /sys/fs/cgroup/k8s.io /sys/fs/cgroup/*/k8s.io 2>/dev/null || true
    rm -rf --one-file-system "$work"
}

# Makes $work, to be removed at exit, with the plugins and the recorder that replaces them. It is
# below the target directory and not below /tmp, since overlayfs needs a real file system and the
# runtime's socket a short path; its unique name allows two runs at once.
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

# Runs a command in namespaces of its own, with a suite's containerd, runc and busybox in PATH.
enter_with() { # SUITE COMMAND…
    local suite=$1; shift
    PATH=$cache/$suite/usr/bin:$cache/bookworm/usr/sbin:$cache/bookworm/bin:$PATH enter "$@"
}
