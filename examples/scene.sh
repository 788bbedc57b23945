# shellcheck shell=bash disable=SC2034,SC2154
#
# The scene of the examples with real runtimes, inside their namespaces: a host with one address, an
# outside host, and the check for leftovers. Sourced by their `inside`, which sets `work` and
# `busybox`.

# An `inside` with another network overrides these.
bridge=cni0
data_dir=$work/reservations
held=0

holds() { printf '          ok    %s\n' "$*"; }
broken() { printf '          FAIL  %s\n' "$*"; held=1; }
nothing_left() { # WHAT FOUND
    if [ -z "$2" ]; then holds "no $1 left"; else broken "$1 left: $2"; fi
}

# Hides the machine's own namespaces and sockets, networks, reservations and cached results.
hide_the_machine() {
    mount -t tmpfs tmpfs /run
    mount -t tmpfs tmpfs /var/lib
    [ ! -d /etc/cni ] || mount -t tmpfs tmpfs /etc/cni
    mkdir -p /run/netns
}

# The host has 192.0.2.1, the outside 192.0.2.2.
set_the_scene() {
    ip link set lo up
    ip netns add outside
    ip link add uplink type veth peer name eth0 netns outside
    ip address add 192.0.2.1/24 dev uplink
    ip link set uplink up
    ip -n outside address add 192.0.2.2/24 dev eth0
    ip -n outside link set eth0 up
    ip -n outside link set lo up
}

# A web server outside. Sets `web`.
serve_outside() {
    mkdir "$work/www" && echo "hello from outside" >"$work/www/index.html"
    ip netns exec outside "$busybox" httpd -f -v -p 8000 -h "$work/www" >"$work/log/outside" 2>&1 &
    web=$!
}

# The traces of a pod on the node, each as a list.
pod_interfaces() { ip -o link | awk -F': ' '{print $2}' | sed 's/@.*//' | grep -vxE "lo|uplink|$bridge" || true; }
bridge_ports() { ip -o link show master "$bridge"; }
reservations() { find "$data_dir" -name '[0-9a-f]*[.:]*' -not -name 'last_*' -not -path '*/.*'; }
masquerade_rules() { nft list ruleset inet | grep 'id: ' || true; }
cached_results() { find /var/lib/cni -type f -not -path '/var/lib/cni/networks/*' 2>/dev/null || true; }

no_pod_left() {
    nothing_left "interface" "$(pod_interfaces)"
    nothing_left "port of the bridge" "$(bridge_ports)"
    nothing_left "reservation" "$(reservations)"
    nothing_left "masquerade rule" "$(masquerade_rules)"
    nothing_left "cached result" "$(cached_results)"
}
