#!/bin/sh
# Write requirements/*.txt anew from pyproject.toml: newest versions that fit, one version for all Pythons and platforms,
# hashes of every file, no addresses. Run it by `make lock`; the result is for review like any other change.
set -eu
cd -- "$(dirname -- "$0")/.."

tool=.venv-lock
if [ ! -x "$tool/bin/uv" ]; then
    "${PYTHON:-python3}" -m venv "$tool"
    "$tool/bin/python" -m pip install --quiet --disable-pip-version-check 'uv==0.13.9'
fi

compile() {
    output=$1
    shift
    "$tool/bin/uv" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
        --no-header --no-annotate --no-emit-index-url --output-file "requirements/$output.txt" "$@"
    echo "requirements/$output.txt: $(grep -c == "requirements/$output.txt") packages"
}

# The tests' environment comes first; the others take their versions from it.
compile dev pyproject.toml requirements/build.in --extra dev "$@"
same='--constraints requirements/dev.txt'
compile local pyproject.toml requirements/build.in --extra local $same
compile producer pyproject.toml requirements/build.in $same
compile worker-cpu pyproject.toml requirements/build.in --extra cpu $same
compile worker-gpu pyproject.toml requirements/build.in --extra gpu $same
compile flower pyproject.toml requirements/build.in --extra flower $same
compile audit requirements/build.in requirements/audit.in $same
compile export pyproject.toml requirements/build.in requirements/export.in --extra export $same
