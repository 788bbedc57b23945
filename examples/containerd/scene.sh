# shellcheck shell=bash disable=SC2034,SC2154
#
# The scene of the examples with containerd, in addition to ../scene.sh: containerd with one image,
# and the host ports and namespaces of its pods. Sourced by their `inside`, which sets `example`,
# `work` and `series`; containerd, runc and busybox are found in PATH.

containerd_example=$top/examples/containerd
busybox=$(command -v busybox)
socket=$work/containerd.sock
image=example.local/busybox:1
# shellcheck source-path=SCRIPTDIR source=../scene.sh
. "$top/examples/scene.sh"

fail() { printf 'examples/%s: %s\n' "$example" "$*" >&2; tail -n 20 "$work/log/containerd" >&2 || true; exit 1; }

pods_conflist() { # VERSION [FURTHER-PLUGINS]
    local portmap=
    if [ -x "$work/cni/plugins/portmap" ]; then
        portmap=', { "type": "portmap", "capabilities": { "portMappings": true }, "snat": true }'
    fi
    cat >"$work/conf/10-pods.conflist" <<CONF
{
    "cniVersion": "$1",
    "name": "pods",
    "plugins": [{
        "type": "bridge",
        "bridge": "$bridge",
        "isDefaultGateway": true,
        "ipMasq": true,
        "hairpinMode": true,
        "ipam": {
            "type": "host-local",
            "dataDir": "$data_dir",
            "ranges": [[{ "subnet": "10.88.0.0/24" }], [{ "subnet": "fd00:88::/64" }]]
        }
    }$portmap${2:-}]
}
CONF
}

# The one image for pods and containers: busybox, with the few folders that a container needs.
make_image() {
    local layer=$work/layer
    mkdir -p "$layer"/{bin,etc,proc,sys,dev,tmp}
    cp "$busybox" "$layer/bin/"
    tar -C "$layer" --sort=name --owner=0 --group=0 -cf "$work/layer.tar" .
    "$containerd_example/oci-image" "$work/layer.tar" "$image" "$work/image.tar"
}

# Sets `runtime`. The log is in UTC, and is appended to that of an earlier containerd.
start_containerd() { # LOG-LEVEL
    "$containerd_example/containerd-config" "$series" "$work" "$1" >"$work/containerd.toml"
    TZ=UTC containerd --config "$work/containerd.toml" >>"$work/log/containerd" 2>&1 &
    runtime=$!
    for _ in $(seq 100); do
        ctr -a "$socket" version >/dev/null 2>&1 && return
        kill -0 "$runtime" 2>/dev/null || break
        sleep 0.1
    done
    fail "containerd does not answer; its last words:"
}

import_image() {
    ctr -a "$socket" -n k8s.io images import "$work/image.tar" >/dev/null || fail "the image cannot be imported"
}

# More traces of a pod, each as a list.
pod_namespaces() { ip netns list | grep -v '^outside' || true; }
host_port_rules() { nft list ruleset 2>/dev/null | grep -E 'CNI-DN-|18080' || true; }

nothing_of_containerd_left() {
    no_pod_left
    nothing_left "namespace" "$(pod_namespaces)"
    nothing_left "rule for a host port" "$(host_port_rules)"
}
