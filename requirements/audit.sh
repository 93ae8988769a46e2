#!/bin/sh
# Look for known vulnerabilities in every package of requirements/*.txt, or in the files that are named.
# Exit code 0: none is known, or nobody could be asked, which is said; 1: some are.
# What audits lives in .venv-audit and is installed by its hashes, like everything else.
set -eu
cd -- "$(dirname -- "$0")/.."

venv=.venv-audit
lock=requirements/audit.txt
say() { printf 'imagefleet: %s\n' "$*" >&2; }
nobody() { say "The audit could not ask for known vulnerabilities (is this machine online?); nothing was checked."; exit 0; }

if [ "$(cat "$venv/ready" 2>/dev/null)" != "$(cksum <"$lock")" ]; then
    say "Making an environment in $venv."
    "${PYTHON:-python3}" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes \
        --only-binary :all: --requirement "$lock" 2>"$venv/errors.log" || nobody
    cksum <"$lock" >"$venv/ready"
fi

audit() { "$venv/bin/pip-audit" --require-hashes --disable-pip --progress-spinner off --requirement "$1" 2>"$venv/errors.log"; }

# A mirror that hands on packages may know nothing of vulnerabilities, and then everything would look well.
printf 'idna==2.0 --hash=sha256:%064d\n' 0 >"$venv/known-as-vulnerable.txt"
if audit "$venv/known-as-vulnerable.txt" >/dev/null; then
    say "The package index of this machine has no word of vulnerabilities, not even of an old one; nothing was checked."
    exit 0
fi

[ $# -gt 0 ] || set -- requirements/*.txt
found=0
for file in "$@"; do
    # It ends with 1 both where something was found and where nobody answered; only in the first case it prints a list.
    if ! list=$(audit "$file"); then
        [ -n "$list" ] || nobody
        found=1
        printf '%s:\n%s\n' "$file" "$list"
    else
        echo "$file: no known vulnerability"
    fi
done
exit $found
