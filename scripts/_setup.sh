# Sourced by the verbs beside it, never run: makes .venv in the checkout, installs the pinned packages, says what is missing.
#
# The verbs: vitrepro (the command), test, lint, fix (for developers), lock (renews requirements/*.lock.txt), audit (known
# vulnerabilities of what they pin), image (builds the container), image-check (builds and tries it without an engine), tune (a grid
# of rates on a dev split), bench-report (time and memory of a large report), bench-peers (the loop beside torch's and timm's),
# measure-gpu (all that waits for a GPU).
#
# Everything said here goes to stderr, because stdout belongs to the command. Nothing is written outside the checkout. A stamp in
# .venv is written last and means complete: an interrupted set-up leaves none, and the next call goes on where it stopped.
# Read `ensure_environment` first.

set -euo pipefail
unset CDPATH PYTHONHOME

root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd -P)
venv=$root/.venv

say() { printf 'vitrepro set-up: %s\n' "$1" >&2; }

# fail MESSAGE REMEDY
fail() {
  printf 'vitrepro set-up: error: %s\n  What to do: %s\n' "$1" "$2" >&2
  exit 1
}

# ensure_environment run|dev: returns at once when .venv is complete, else completes it. Two calls at once wait for each other.
ensure_environment() {
  is_current "$1" && return
  mkdir -p -- "$venv" 2>/dev/null && [ -w "$venv" ] ||
    fail "The folder $venv cannot be written." "Give yourself write access to $root, or copy the checkout to a folder of your own."
  exec 9>>"$venv/setup.lock"
  # Without this, bash would report an interrupted pip as a failed one.
  trap 'say "interrupted; the same command goes on where it stopped"; exit 130' INT
  local python
  python=$(find_python)
  lock_setup "$python"
  if ! is_current "$1"; then
    is_current run || install_run "$python"
    [ "$1" = run ] || install_dev
    rm -rf -- "$venv/setup"
    say "done"
  fi
  trap - INT
  exec 9>&-
}

# The digest of everything that decides what .venv holds: a moved checkout and another Python count too.
stamp_of() {
  local files=(pyproject.toml requirements/torch.txt requirements/venv.lock.txt)
  [ "$1" = run ] || files+=(requirements/dev.lock.txt)
  {
    printf '%s\n' "$root" "$(uname -m)"
    "$venv/bin/python" -I -S -c 'import sys; print(sys.version)'
    (cd -- "$root" && cat -- "${files[@]}")
  } | sha256sum
}

is_current() {
  local stamp
  [ -x "$venv/bin/python" ] && [ -f "$venv/$1.stamp" ] || return 1
  stamp=$(stamp_of "$1" 2>/dev/null) && [ "$stamp" = "$(cat -- "$venv/$1.stamp")" ]
}

write_stamp() {
  stamp_of "$1" >"$venv/$1.stamp.tmp"
  mv -f -- "$venv/$1.stamp.tmp" "$venv/$1.stamp"
}

# Python does the locking, for flock(1) is not everywhere. The lock belongs to descriptor 9, which this shell keeps open; the
# system releases it when the shell and its pip are gone.
lock_setup() {
  "$1" -I -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null && return
  say "another set-up of this checkout is at work; waiting for it"
  "$1" -I -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
}

# Prints the path of the first Python that fits: $VITREPRO_PYTHON alone where it is set, else python3 and its versioned names.
find_python() {
  local candidates=(python3 python3.13 python3.12 python3.11) candidate path version without_venv=""
  [ -z "${VITREPRO_PYTHON:-}" ] || candidates=("$VITREPRO_PYTHON")
  for candidate in "${candidates[@]}"; do
    path=$(command -v -- "$candidate") || continue
    version=$("$path" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    case $version in 3.11 | 3.12 | 3.13) ;; *) continue ;; esac
    if "$path" -I -c 'import ensurepip, venv' 2>/dev/null; then
      printf '%s\n' "$path"
      return
    fi
    without_venv=${without_venv:-$path, Python $version}
  done
  [ -z "$without_venv" ] || fail "$without_venv, cannot make virtual environments: its module venv or ensurepip is missing." \
    "On Debian and Ubuntu: apt-get install python3-venv. Or name another Python with VITREPRO_PYTHON=/path/to/python3."
  fail "No Python from 3.11 to 3.13 was found (tried: ${candidates[*]})." \
    "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it with VITREPRO_PYTHON=/path/to/python3."
}

install_run() {
  rm -f -- "$venv"/*.stamp
  # An environment of another Python or another place is not mended but made anew; the lock that this shell holds stays.
  if ! [ -f "$venv/made-for" ] || [ "$(cat -- "$venv/made-for")" != "$(made_for "$venv/bin/python")" ]; then
    say "making $venv with $1 (once; some minutes)"
    find "$venv" -mindepth 1 -maxdepth 1 ! -name setup.lock -exec rm -rf -- {} +
    "$1" -I -m venv "$venv" >&2 || fail "$1 could not make the virtual environment $venv." "See the message above."
    made_for "$venv/bin/python" >"$venv/made-for"
  fi
  forget_half_installed
  say "1/3 pinned packages (requirements/venv.lock.txt)"
  pip_install --require-hashes --no-deps -r "$root/requirements/venv.lock.txt"
  say "2/3 torch (requirements/torch.txt), the largest part"
  pip_install -r "$root/requirements/torch.txt"
  say "3/3 vitrepro itself, from this checkout"
  pip_install --no-deps --no-build-isolation -e "$root"
  write_stamp run
}

# pip writes INSTALLER after a package's files and commands. Where it is missing pip was killed, and would not look again.
forget_half_installed() {
  [ ! -d "$venv/lib" ] || find "$venv/lib" -maxdepth 3 -name '*.dist-info' ! -exec test -e '{}/INSTALLER' \; -exec rm -rf -- {} +
}

install_dev() {
  forget_half_installed
  say "packages for developers (requirements/dev.lock.txt)"
  pip_install --require-hashes --no-deps -r "$root/requirements/dev.lock.txt"
  write_stamp dev
}

made_for() { "$1" -I -S -c 'import sys; print(*sys.version_info[:2], sys.argv[1])' "$venv" 2>/dev/null || printf 'nothing\n'; }

# Downloads and temporary files stay inside .venv until the end, so that an interrupted set-up does not download them again. The
# user's own pip configuration (an index, certificates, a proxy) is honoured, except where it would install to another place.
pip_install() {
  local status=0
  mkdir -p -- "$venv/setup/tmp"
  env -u PYTHONPATH -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT TMPDIR="$venv/setup/tmp" PIP_CACHE_DIR="${PIP_CACHE_DIR:-$venv/setup/cache}" \
    PIP_USER=no PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PYTHONNOUSERSITE=1 \
    "$venv/bin/python" -m pip install "$@" >&2 || status=$?
  [ "$status" -eq 0 ] || fail "pip ended with exit code $status; its message is above." \
    "Check the network and the free disk space, then type the same command again: it goes on where it stopped."
}

# What WeasyPrint loads for the PDF, and what the tests read a PDF with.
require_pdf_tools() {
  local missing
  missing=$("$venv/bin/python" -I -S "$root/scripts/_pdf_tools.py") ||
    fail "The tests make and read PDF files, and this machine lacks: $missing." "On Debian and Ubuntu: apt-get install $missing"
}
