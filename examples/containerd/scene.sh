# shellcheck shell=bash disable=SC2034,SC2154
#
# What the examples with containerd have inside their namespaces: a host with one address, an outside with a web server,
# containerd with one image, and the look at what is left. Sourced by their `inside`, which sets `example`, `work` and `series`;
# containerd, runc and busybox are found in PATH.

containerd_example=$top/examples/containerd
busybox=$(command -v busybox)
socket=$work/containerd.sock
image=example.local/busybox:1
held=0

fail() { printf 'examples/%s: %s\n' "$example" "$*" >&2; tail -n 20 "$work/log/containerd" >&2 || true; exit 1; }

holds() { printf '          ok    %s\n' "$*"; }
broken() { printf '          FAIL  %s\n' "$*"; held=1; }
nothing_left() { # WHAT FOUND
    if [ -z "$2" ]; then holds "no $1 left"; else broken "$1 left: $2"; fi
}

# What belongs to the machine is out of sight: its namespaces and sockets, its networks, reservations and cached results.
hide_the_machine() {
    mount -t proc proc /proc
    mount -t tmpfs tmpfs /run
    mount -t tmpfs tmpfs /var/lib
    [ ! -d /etc/cni ] || mount -t tmpfs tmpfs /etc/cni
    mkdir -p /run/netns
}

# The host has 192.0.2.1, the outside 192.0.2.2 and a web server.
set_the_scene() {
    ip link set lo up
    ip netns add outside
    ip link add uplink type veth peer name eth0 netns outside
    ip address add 192.0.2.1/24 dev uplink
    ip link set uplink up
    ip -n outside address add 192.0.2.2/24 dev eth0
    ip -n outside link set eth0 up
    ip -n outside link set lo up
    mkdir "$work/www" && echo "hello from outside" >"$work/www/index.html"
    ip netns exec outside "$busybox" httpd -f -v -p 8000 -h "$work/www" >"$work/log/outside" 2>&1 &
    web=$!
}

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
        "bridge": "cni0",
        "isDefaultGateway": true,
        "ipMasq": true,
        "hairpinMode": true,
        "ipam": {
            "type": "host-local",
            "dataDir": "$work/reservations",
            "ranges": [[{ "subnet": "10.88.0.0/24" }], [{ "subnet": "fd00:88::/64" }]]
        }
    }$portmap${2:-}]
}
CONF
}

# One image for pods and containers: busybox, with the few folders that a container has.
make_image() {
    local layer=$work/layer
    mkdir -p "$layer"/{bin,etc,proc,sys,dev,tmp}
    cp "$busybox" "$layer/bin/"
    tar -C "$layer" --sort=name --owner=0 --group=0 -cf "$work/layer.tar" .
    "$containerd_example/oci-image" "$work/layer.tar" "$image" "$work/image.tar"
}

# Sets `runtime`. The log is in UTC and goes on where an earlier containerd was.
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

# What the plugins leave behind for a pod, each as a list.
pod_interfaces() { ip -o link | awk -F': ' '{print $2}' | sed 's/@.*//' | grep -vxE 'lo|uplink|cni0' || true; }
bridge_ports() { ip -o link show master cni0; }
pod_namespaces() { ip netns list | grep -v '^outside' || true; }
reservations() { find "$work/reservations" -name '[0-9a-f]*[.:]*' -not -name 'last_*' -not -path '*/.*'; }
masquerade_rules() { nft list table inet cni_plugins_masquerade | grep 'id: ' || true; }
host_port_rules() { nft list ruleset 2>/dev/null | grep -E 'CNI-DN-|18080' || true; }
cached_results() { find /var/lib/cni -type f 2>/dev/null || true; }

no_pod_left() {
    nothing_left "interface" "$(pod_interfaces)"
    nothing_left "port of the bridge" "$(bridge_ports)"
    nothing_left "namespace" "$(pod_namespaces)"
    nothing_left "reservation" "$(reservations)"
    nothing_left "masquerade rule" "$(masquerade_rules)"
    nothing_left "rule for a host port" "$(host_port_rules)"
    nothing_left "cached result" "$(cached_results)"
}
