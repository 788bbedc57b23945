# shellcheck shell=bash disable=SC2154
#
# Runs README.md's commands. Sourced by `run` and `inside`, which set `top`.

# Prints the first block of commands after the paragraph that begins with TEXT, in bold or not.
commands() { # TEXT
    awk -v text="$1" '
        index($0, text) == 1 || index($0, "**" text) == 1 { here = 1 }
        here && /^```/ { if (inside) exit; inside = 1; next }
        inside { print }' "$top/README.md"
}

# Runs them as if a person typed one after the other: stops if one fails, and ends in the folder of
# the last `cd`.
run_commands() { # TEXT
    local lines where status=0
    lines=$(commands "$1")
    [ -n "$lines" ] || { echo "README.md has no commands for: $1" >&2; return 1; }
    printf '\n%s\n' "$lines"
    where=$(mktemp)
    bash -e -c "$lines"$'\npwd >"$0"' "$where" </dev/null 2>&1 | sed 's/^/    | /' || status=$?
    [ "$status" != 0 ] || cd "$(cat "$where")" || status=$?
    rm "$where"
    return "$status"
}
