# shellcheck shell=bash disable=SC2034,SC2154
#
# What the examples with real runtimes have inside their namespaces: a host with one address, an outside, and the look at what is
# left. Sourced by their `inside`, which sets `work` and `busybox`.

# An `inside` whose network has others sets these anew.
bridge=cni0
data_dir=$work/reservations
held=0

holds() { printf '          ok    %s\n' "$*"; }
broken() { printf '          FAIL  %s\n' "$*"; held=1; }
nothing_left() { # WHAT FOUND
    if [ -z "$2" ]; then holds "no $1 left"; else broken "$1 left: $2"; fi
}

# What belongs to the machine is out of sight: its namespaces and sockets, its networks, reservations and cached results.
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

# What the plugins leave behind for a pod, each as a list.
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
