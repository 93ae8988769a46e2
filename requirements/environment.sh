#!/bin/sh
# Make or complete the environment in .venv: `requirements/environment.sh local` to use imagefleet, `dev` to test it too.
# `requirements/environment.sh export` makes one of its own for exports, .venv-export: PyTorch takes gigabytes.
# Every file that pip takes must have a hash in requirements/; nothing is compiled. A second call does nothing.
set -eu
cd -- "$(dirname -- "$0")/.."

level=$1
case $level in
    export) venv=.venv-export ;;
    *) venv=.venv ;;
esac
lock=requirements/$level.txt

say() { printf 'imagefleet: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# A stamp holds all that the environment depends on; a copied or renamed clone does not match it.
wanted() { { pwd; cat requirements/environment.sh "requirements/$1.txt" pyproject.toml; } | cksum; }
has() { [ "$(cat "$venv/ready-$1" 2>/dev/null)" = "$(wanted "$1")" ]; }
# What is needed for tests holds all that is needed for use.
is_ready() { fits "$venv/bin/python" && { has "$level" || has dev; }; }

find_python() {
    for candidate in ${PYTHON:+"$PYTHON"} python3.12 python3.11 python3.13 python3 python3.14; do
        if fits "$candidate"; then
            command -v -- "$candidate"
            return
        fi
    done
    die "No Python 3.11 or newer was found; install Python 3.12, or name one: PYTHON=/path/to/python3.12 make demo."
}

create() {
    python=$(find_python) || exit $?
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$python cannot make environments; install its venv package" \
            "(on Debian and Ubuntu: apt install python3-venv), then run make again."
    say "Making an environment in $venv with $("$python" --version)."
    "$python" -m venv --clear "$venv" || die "$python could not make $venv; the lines above say why."
    pwd >"$venv/home"
}

# pip's log, with a line of progress now and then instead of all of it.
progress() {
    awk -v all="$(grep -c == "$lock")" '
        /^(Collecting|Requirement already satisfied: )/ { if (++n % 15 == 0) { print "  " n " of about " all " packages"; fflush() } }
        /^Installing collected/ { print "  unpacking"; fflush() }' >&2
}

install() {
    say "Installing $(grep -c == "$lock") packages into $venv; this takes a minute or two."
    log=$venv/install-$level.log
    # The exit code of pip, not of the pipe, is what counts.
    code=$({ { "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --require-hashes \
        --only-binary :all: --requirement "$lock" 2>"$log.errors" || echo $? >&3; } | tee "$log" | progress; } 3>&1)
    if [ -n "$code" ]; then
        tail -n 15 "$log.errors" >&2
        die "The packages could not be installed; the lines above and $log say why." \
            "Ready-made packages exist for Linux (x86_64, aarch64) and macOS 14 or newer with Python 3.11 or 3.12."
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation \
        --no-index --editable . || die "imagefleet itself could not be installed; the lines above say why."
}

is_ready && exit 0
if ! fits "$venv/bin/python" || [ "$(cat "$venv/home" 2>/dev/null || pwd)" != "$(pwd)" ]; then
    create
fi
install
wanted "$level" >"$venv/ready-$level"
