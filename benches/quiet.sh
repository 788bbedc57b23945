#!/bin/sh
# Waits until the machine has been at least 92 % idle for 4 s, for at most SECONDS (default 120).
# Timings of a busy machine are not comparable. Prints if it became quiet; always exits 0.
#
#   benches/quiet.sh [SECONDS]
set -eu

# The machine's time so far, in ticks: all of it, and the idle part
ticks() { awk '$1 == "cpu" { for (i = 2; i <= 8; i++) all += $i; print all, $5 }' /proc/stat; }

left=${1:-120}
quiet=0
now=$(ticks)
while [ "$left" -gt 0 ] && [ "$quiet" -lt 4 ]; do
    before=$now
    sleep 1
    now=$(ticks)
    left=$((left - 1))
    if echo "$before $now" | awk '{ exit !(($4 - $2) * 100 >= ($3 - $1) * 92) }'; then
        quiet=$((quiet + 1))
    else
        quiet=0
    fi
done
if [ "$quiet" -ge 4 ]; then echo "the machine is quiet"; else echo "the machine is NOT quiet: take the timings with care"; fi
