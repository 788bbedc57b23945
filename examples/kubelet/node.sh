# shellcheck shell=bash disable=SC2034,SC2154
#
# The node of the example, for `inside`: kubelet, the calls to it and to the plugins, and the
# checks.

records=$work/cni/cni.jsonl
zero=$(date +%s.%N)
: >"$records"

# kubelet sets these for the whole machine, and its log folders are outside /var/lib.
hide_what_the_kubelet_writes() {
    mount -t tmpfs tmpfs /var/log
    mkdir -p "$work/settings"
    local setting file
    for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
        kernel/keys/root_maxbytes; do
        [ -e "/proc/sys/$setting" ] || continue
        file=$work/settings/${setting//\//.}
        cat "/proc/sys/$setting" >"$file"
        mount --bind "$file" "/proc/sys/$setting"
    done
}

# Sets `kubelet_pid`.
start_kubelet() {
    "$top/examples/kubelet/kubelet-config" "$work" >"$work/kubelet.yaml"
    "$kubelet" --config "$work/kubelet.yaml" --root-dir "$work/kubelet" --cert-dir "$work/certificates" \
        --container-runtime remote --container-runtime-endpoint "unix://$socket" --image-service-endpoint "unix://$socket" \
        --pod-infra-container-image "$image" --volume-plugin-dir "$work/volume-plugins" \
        --node-ip 192.0.2.1 --hostname-override node --resolv-conf "" --v 2 >>"$work/log/kubelet" 2>&1 &
    kubelet_pid=$!
    local second
    for second in $(seq 60); do
        [ "$(page 127.0.0.1 10248 /healthz)" != ok ] || return 0
        kill -0 "$kubelet_pid" 2>/dev/null || break
        sleep 1
    done
    tail -n 30 "$work/log/kubelet" >&2
    fail "the kubelet does not answer after $second seconds; its last words are above, containerd's below:"
}

end_all() {
    local pid
    for pid in "${kubelet_pid:-}" "${runtime:-}" "${web:-}"; do
        [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    done
}

kill_and_wait() { # PID
    kill -9 "$1"
    wait "$1" 2>/dev/null || true
}

# ------------------------------------------------------------------------------------ what is asked
step() { # TEXT: what follows is counted and shown from here on
    since=$(date +%s.%N)
    mark=$(wc -l <"$records")
    log_mark=$(wc -l <"$work/log/containerd")
    printf '\n%8.3f  %s\n' "$(awk "BEGIN { print $since - $zero }")" "$*"
}

eventually() { # SECONDS TEXT COMMAND…
    local seconds=$1 text=$2 begin=$SECONDS
    shift 2
    until "$@"; do
        if [ $((SECONDS - begin)) -ge "$seconds" ]; then
            broken "$text: not within $seconds s ($(figures); $(pod_list | cut -d' ' -f1-5 | tr '\n' ';'))"
            return
        fi
        sleep 0.3
    done
    holds "$text ($((SECONDS - begin)) s)"
}

show_calls() { "$work/cri-walk" timeline "$records" "$work/log/containerd" "$since" "$zero"; }

new_calls() { tail -n "+$((mark + 1))" "$records"; }
count() { new_calls | grep -c "\"plugin\":\"$1\",\"command\":\"$2\"" || true; } # PLUGIN COMMAND
failed() { # PLUGIN COMMAND TIMES
    [ "$(new_calls | grep "\"plugin\":\"$1\",\"command\":\"$2\"" | grep -vc '"exit":0}' || true)" -ge "$3" ]
}
called() { # PLUGIN COMMAND TIMES
    local times; times=$(count "$1" "$2")
    if [ "$times" = "$3" ]; then holds "calls of $1 $2: $3"; else broken "calls of $1 $2: $times, not $3"; fi
}
called_at_least() { # PLUGIN COMMAND TIMES
    local times; times=$(count "$1" "$2")
    if [ "$times" -ge "$3" ]; then holds "calls of $1 $2: $times"; else broken "calls of $1 $2: $times, not $3"; fi
}
# Succeeds if kubelet has asked the runtime for its sandboxes, and has checked each pod once more.
looked_again() {
    sleep 12
    [ "$(tail -n "+$((log_mark + 1))" "$work/log/containerd" | grep -c 'ListPodSandbox')" -gt 0 ]
}
no_call() {
    local times; times=$(new_calls | grep -c . || true)
    if [ "$times" = 0 ]; then holds "no plugin was called"; else broken "plugins were called $times times"; fi
}

# ------------------------------------------------------------------------------------ what is there
lines() { grep -c . || true; }
# Prints the numbers of the traces of all pods together.
figures() {
    printf '%s interfaces, %s bridge ports, %s reservations, %s masquerade rules, %s host port rules, %s namespaces, %s cached results' \
        "$(pod_interfaces | lines)" "$(bridge_ports 2>/dev/null | lines)" "$(reservations 2>/dev/null | lines)" \
        "$(masquerade_rules 2>/dev/null | lines)" "$(host_port_rules | lines)" "$(pod_namespaces | lines)" \
        "$(cached_results | lines)"
}
# Checks that the network is that of two or three pods, and that web's host port has as many rules
# as at first.
network_is_of() { # PODS
    : "${port_rules:=$(host_port_rules | lines)}"
    [ "$(figures)" = "$1 interfaces, $1 bridge ports, $((2 * $1)) reservations, $((2 * $1)) masquerade rules, $port_rules host port rules, $1 namespaces, $((2 * $1)) cached results" ]
}

# Prints a shell command that reads a page. It uses nc, since the wget of a static busybox needs
# files of the C library for names.
reading() { printf '%s\n' "printf 'GET $4 HTTP/1.0\r\n\r\n' | $1 nc -w 10 $2 $3"; } # BUSYBOX ADDRESS PORT PATH
body() { sed '1,/^\r*$/d'; }
page() { # ADDRESS PORT PATH [COMMAND-BEFORE…]
    local line; line=$(reading "$busybox" "$1" "$2" "$3")
    shift 3
    "$@" "$busybox" sh -c "$line" 2>/dev/null | body || true
}
page_in_pod() { in_pod "$1" sh -c "$(reading /bin/busybox "$2" "$3" "$4")" | body || true; } # NAME ADDRESS PORT PATH

# Prints a line for each of kubelet's pods: name, phase, ready or not-ready, address, restarts,
# container.
pod_list() { page 127.0.0.1 10255 /pods | "$work/cri-walk" pods 2>/dev/null || true; }
pod() { pod_list | grep "^$1-node " || true; } # NAME
word() { cut -d' ' -f"$1"; }
pod_is() { [ "$(pod "$1" | word 3)" = "$2" ]; } # NAME STATE
pod_is_gone() { answers && [ -z "$(pod "$1")" ]; }
pod_list_is_empty() { answers && [ -z "$(pod_list)" ]; }
answers() { [ "$(page 127.0.0.1 10248 /healthz)" = ok ]; }
pods_are_ready_as_in() { [ "$(pod_list)" = "$1" ] && ! grep -q not-ready <<<"$1"; } # POD-LIST
pod_has_moved() { # NAME POD-LIST
    pod_is "$1" ready && [ "$(pod "$1" | word 6)" != "$(grep "^$1-node " <<<"$2" | word 6)" ]
}
no_sandbox_left() { [ -z "$(ctr -a "$socket" -n k8s.io containers ls -q)" ]; }

last_add() { # NAME: the record of bridge's last ADD for a pod
    grep '"plugin":"bridge","command":"ADD"' "$records" | grep "\"pod\":\"$1-node\"" | tail -n 1
}
# Prints the process that holds a pod's namespaces.
sandbox_pid() { # NAME
    local sandbox; sandbox=$(last_add "$1" | sed 's/.*"container":"\([^"]*\)".*/\1/')
    ctr -a "$socket" -n k8s.io tasks ls | awk -v id="$sandbox" '$1 == id { print $2 }'
}

in_pod() { # NAME BUSYBOX-COMMAND…
    local container; container=$(pod "$1" | word 6)
    shift
    ctr -a "$socket" -n k8s.io tasks exec --exec-id "look-$RANDOM$RANDOM" "$container" /bin/busybox "$@" 2>>"$work/log/ctr"
}

reads() { # WHO WHAT-IT-SHOULD-READ WHAT-IT-READ
    if [ "$3" = "$2" ]; then
        holds "$1: $2"
    else
        broken "$1: '$3', not '$2'"
        # Helps to distinguish a lost packet from a command that could not run and from a busy
        # machine.
        printf '          %s\n' "pages served outside: $(lines <"$work/log/outside")" "load: $(cat /proc/loadavg)"
        { ip neigh; ip -n outside neigh; tail -n 2 "$work/log/ctr"; } 2>&1 | sed 's/^/          /' || true
    fi
}

look_around() {
    local four six
    four=$(pod web | word 4)
    six=$(last_add web | grep -o 'fd00:88::[0-9a-f][0-9a-f]*/64' | head -n 1 | cut -d/ -f1)
    reads "the host reads web's page at $four" "hello from web" "$(page "$four" 8080 /)"
    reads "client reads it" "hello from web" "$(page_in_pod client "$four" 8080 /)"
    reads "client pings web at $six" "1 packets received" "$(in_pod client ping -c 1 -W 5 "$six" | grep -o '1 packets received')"
    reads "client reads a page outside" "hello from outside" "$(page_in_pod client 192.0.2.2 8000 /)"
    reads "the outside saw it come from" "192.0.2.1" "$(grep -o '192[.0-9]*\|10[.][.0-9]*' "$work/log/outside" | tail -n 1)"
    if [ -x "$work/cni/plugins/portmap" ]; then
        reads "the outside reads web's page at port 18080 of the host" "hello from web" \
            "$(page 192.0.2.1 18080 / ip netns exec outside)"
        reads "the host reads it there too" "hello from web" "$(page 192.0.2.1 18080 /)"
    fi
}

# --------------------------------------------------------------------------------------- at the end
show_totals() {
    local failures
    echo "CRI, as containerd's log tells:"
    # There is a line when it begins and one when it ends. (containerd spells one of them in two
    # ways.)
    grep -v ' returns \| failed\| called for ' "$work/log/containerd" |
        sed -n 's/.* msg="\([A-Z][A-Za-z]*\) .*/\1/; s/Podsandbox/PodSandbox/; /^\([A-Z][a-z]*\(PodSandbox\|Container\|Containers\)\|ContainerStatus\|ExecSync\|PodSandboxStatus\)$/p' |
        sort | uniq -c | awk '{ printf "          %6d calls  %s\n", $1, $2 }'
    echo "CNI:"
    sed 's/.*"plugin":"\([^"]*\)","command":"\([^"]*\)".*/\1 \2/' "$records" | sort | uniq -c |
        awk '{ printf "          %6d calls  %s %s\n", $1, $2, $3 }'
    failures=$(grep -v '"exit":0}' "$records" | grep -vc '"plugin":"unsteady"' || true)
    if [ "$failures" = 0 ]; then holds "none failed but unsteady's three"; else broken "$failures calls failed"; fi
}

show_settings() {
    local file
    echo "What the kubelet wanted the whole machine to have, and got in files of its own:"
    for file in "$work"/settings/*; do echo "          ${file##*/} = $(cat "$file")"; done
}
