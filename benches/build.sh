#!/bin/sh
# Builds the harness, bench (static, with musl), and the kernel-only lower bound, limit-bin/*
# (without libc).
#
#   benches/build.sh [OUT]                  default OUT: this folder
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here}
mkdir -p "$out"

# musl: a small static harness spawns faster than one that maps a libc. It has no kernel headers,
# which therefore come from the system, after musl's own.
musl-gcc -O2 -static -s -o "$out/bench" "$here/bench.c" \
    -idirafter /usr/include -idirafter "/usr/include/$(gcc -print-multiarch)"

# The lower bound makes its system calls in x86-64 assembly.
if [ "$(uname -m)" != x86_64 ]; then
    echo "build.sh: limit.c is for x86-64 only; there will be no limit to compare with" >&2
    exit 0
fi
mkdir -p "$out/limit-bin"
gcc -O2 -static -nostdlib -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables \
    -fno-tree-loop-distribute-patterns -Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,norelro \
    -s -o "$out/limit-bin/bridge" "$here/limit.c"
for name in host-local loopback empty; do ln -sf bridge "$out/limit-bin/$name"; done
