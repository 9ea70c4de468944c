#!/bin/sh
# Builds a virtual environment from nothing but Python, for the Makefile.
#
#   tools/setup.sh workspace .venv          the tools and the three distributions, editable
#   tools/setup.sh protos    .venv-protos   the pinned generators
#   tools/setup.sh floor     .venv-floor    the client on the oldest versions it promises
#
# Run it from the repository's root. PYTHON chooses the interpreter. What exists is added to, never
# rebuilt: remove the folder (`make clean-venv`) to start over.
set -eu

kind=$1
venv=$2

say() { printf 'setup: %s\n' "$*" >&2; }
stop() { say "$*"; exit 1; }

# Code that an interpreter of the right age runs successfully. grpcio-tools 1.71.2 has no builds for
# 3.14 and later, and building it takes a compiler and ten minutes.
suits='import sys; sys.exit(sys.version_info < (3, 11))'
needed='Python 3.11 or newer'
if [ "$kind" = protos ]; then
    suits='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
    needed='Python 3.11, 3.12 or 3.13 (the pinned generator has no builds for newer ones)'
fi

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        "$PYTHON" -c "$suits" 2>/dev/null && { echo "$PYTHON"; return; }
        # Generating is a tool's business: another interpreter may do it, with no one the wiser.
        [ "$kind" = protos ] || stop "PYTHON=$PYTHON is not $needed."
    fi
    for name in python3 python3.11 python3.12 python3.13 python3.14 python; do
        "$name" -c "$suits" 2>/dev/null && { echo "$name"; return; }
    done
    stop "$needed is needed and none was found. Install one, or name it: make PYTHON=/path/to/python3.11"
}

make_venv() {
    python=$(find_python) || exit 1
    "$python" -m venv "$venv" >/dev/null 2>&1 && return
    # Debian keeps the half of venv that installs pip in a package of its own.
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "this Python cannot make virtual environments; installing Debian's python3-venv"
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv; } >&2 || true
        rm -rf "$venv"
        "$python" -m venv "$venv" >/dev/null 2>&1 && return
    fi
    rm -rf "$venv"
    stop "$python cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"
}

"$venv/bin/python" -c "$suits" 2>/dev/null || make_venv

if ! [ -x "$venv/bin/uv" ]; then
    # uv comes first, by pip, at the version and hashes that constraints.txt names for it.
    # An environment that uv made has no pip of its own.
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null
    pin="$venv/uv.txt"
    awk '/^[^ #]/ { on = /^uv==/ } on' constraints.txt >"$pin"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --no-deps --require-hashes -r "$pin" || stop "pip could not install uv; its own words stand above."
fi

# uv trusts a list of its own. Whom the system and pip trust besides, such as a company's proxy, it has
# to be told. A system without any list of its own (a bare container) is left to uv's.
has_authorities='import os, ssl, sys
known = ssl.get_default_verify_paths()
sys.exit(not (known.cafile or known.capath and os.listdir(known.capath)))'
if "$venv/bin/python" -c "$has_authorities"; then
    export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
fi
authority=${PIP_CERT:-$("$venv/bin/python" -m pip config get global.cert 2>/dev/null || true)}

install() {
    "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" ${authority:+--cert "$authority"} "$@"
}

case $kind in
workspace)
    # --no-deps: the file is the whole closure. What it leaves out, it leaves out on purpose.
    install --no-deps --require-hashes -r constraints.txt
    install --no-deps --no-build-isolation -e clients/python -e server -e sandbox
    ;;
protos)
    install --no-deps -r protos/requirements.txt
    ;;
floor)
    # The test tools at their usual versions; what the client and its command line need at the lowest allowed.
    sed -n 's/^\(cryptography\|hypothesis\|pytest\|pytest-asyncio\|pytest-timeout\)==\([^ ]*\).*/\1==\2/p' \
        constraints.txt >"$venv/tools.txt"
    install --resolution lowest-direct --no-sources -e "clients/python[cli]" "grpcio-testing>=1.71.2" -r "$venv/tools.txt"
    ;;
*)
    stop "no environment is called $kind."
    ;;
esac
