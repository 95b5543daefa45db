#!/bin/sh
# Makes a fresh clone ready to run: Node.js and npm in .toolchain, the libraries in node_modules, QEMU, the guest
# image. Needs git, make and any Node.js from 20 on with its npm; installs nothing into the system but QEMU, and
# that only where apt-get may be run.
#
# Each step looks first whether its work is done, says one line when it does something, and keeps the output of
# what it runs in .toolchain/*.log, shown only when it fails. It may be stopped at any moment and run again.
#
# CROSSCELL_WITHOUT_QEMU=1 makes it (and the tests) take this machine for one that has no QEMU and cannot get it.
set -eu

NODE_VERSION=26.10.0
NPM_VERSION=11.21.2

cd "$(dirname "$0")/.."
root=$(pwd -P)
toolchain=$root/.toolchain
node=$toolchain/bin/node
mkdir -p "$toolchain/bin"

say() { echo "setup: $*"; }
fail() {
  echo "setup: $*" >&2
  exit 1
}

# logged NAME COMMAND...: runs a command with its output in a log; shows the log's end when it fails.
logged() {
  log=$toolchain/$1.log
  shift
  "$@" >"$log" 2>&1 && return 0
  echo "setup: this failed: $*" >&2
  tail -n 15 "$log" >&2
  echo "setup: all of its output is in $log" >&2
  return 1
}

# major NODE: the major version of a Node.js, 0 when it does not run.
major() { "$1" -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0; }

# The npm package that holds the Node.js program of this machine, and nothing else.
node_package() {
  node -p '
    const { platform, arch } = process;
    (platform === "darwin" && arch === "arm64" ? "node-bin-" : "node-") + platform + "-" + arch'
}

install_node() {
  command -v node >/dev/null || fail "Node.js is not here: install any version from 20 on, with npm"
  command -v npm >/dev/null || fail "npm is not here: install it beside Node.js (Debian: apt-get install npm)"
  [ "$(major node)" -ge 20 ] || fail "Node.js $(node --version) is too old: 20 or newer is needed"
  if [ "$(major node)" -ge 26 ]; then
    ln -sf "$(node -p 'process.execPath')" "$node"
    return
  fi
  say "fetching Node.js $NODE_VERSION into .toolchain"
  package=$(node_package)
  part=$toolchain/node.part
  rm -rf "$part"
  # The program's own package needs no script to run at its installation. Where there is none for this machine,
  # the package "node" finds one by a script.
  if logged node npm install --prefix "$part" --no-save --no-package-lock --ignore-scripts "$package@$NODE_VERSION"; then
    program=$part/node_modules/$package/bin/node
  elif grep -Eq 'E404|ETARGET' "$toolchain/node.log"; then
    say "trying the package node instead"
    logged node npm install --prefix "$part" --no-save --no-package-lock "node@$NODE_VERSION" ||
      fail "Node.js $NODE_VERSION could not be fetched from the npm registry"
    program=$part/node_modules/node/bin/node
  else
    fail "Node.js $NODE_VERSION could not be fetched from the npm registry"
  fi
  mv "$program" "$toolchain/node-$NODE_VERSION"
  rm -rf "$part"
  ln -sf "../node-$NODE_VERSION" "$node"
  [ "$(major "$node")" -ge 26 ] || fail "the fetched Node.js does not run on this machine: $("$node" --version 2>&1 | head -n 1)"
}

install_npm() {
  say "fetching npm $NPM_VERSION into .toolchain"
  rm -rf "$toolchain/npm.part" "$toolchain/npm-$NPM_VERSION"
  logged npm npm install --prefix "$toolchain/npm.part" --no-save --no-package-lock --ignore-scripts "npm@$NPM_VERSION" ||
    fail "npm $NPM_VERSION could not be fetched from the npm registry"
  mv "$toolchain/npm.part/node_modules/npm" "$toolchain/npm-$NPM_VERSION"
  rm -rf "$toolchain/npm.part"
}

install_libraries() {
  say "installing the libraries of package-lock.json"
  logged libraries "$node" "$toolchain/npm-$NPM_VERSION/bin/npm-cli.js" ci ||
    fail "the libraries could not be installed"
  # Inside node_modules, so that it goes when they go.
  cp package-lock.json node_modules/.installed-lock.json
}

QEMU_PACKAGES="qemu-system-x86 qemu-utils e2fsprogs"

have_qemu() {
  [ -z "${CROSSCELL_WITHOUT_QEMU:-}" ] || return 1
  for program in qemu-system-x86_64 qemu-img mke2fs e2fsck debugfs; do
    PATH=$PATH:/usr/sbin:/sbin command -v $program >/dev/null || return 1
  done
}

apt_install() {
  logged qemu-lists "$@" apt-get -q update || say "going on with the package lists that are here"
  # shellcheck disable=SC2086 # the packages are words of their own
  logged qemu "$@" apt-get install -y -q --no-install-recommends $QEMU_PACKAGES
}

install_qemu() {
  sentence="QEMU is missing, so no real guest can run: install $QEMU_PACKAGES (as root: apt-get install --no-install-recommends $QEMU_PACKAGES)"
  if [ -n "${CROSSCELL_WITHOUT_QEMU:-}" ] || ! command -v apt-get >/dev/null; then
    say "$sentence"
  elif [ "$(id -u)" -eq 0 ]; then
    say "installing QEMU with apt-get"
    apt_install env DEBIAN_FRONTEND=noninteractive || say "$sentence"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    say "installing QEMU with sudo apt-get"
    apt_install sudo -n env DEBIAN_FRONTEND=noninteractive || say "$sentence"
  else
    say "$sentence"
  fi
}

build_guest() {
  "$node" guest/build.ts --cache var/cache/guest >/dev/null ||
    say "there is no guest image, so no real guest can be started from it"
}

[ -x "$node" ] && [ "$(major "$node")" -ge 26 ] || install_node
PATH=$toolchain/bin:$PATH
export PATH
[ -d "$toolchain/npm-$NPM_VERSION" ] || install_npm
cmp -s package-lock.json node_modules/.installed-lock.json || install_libraries
have_qemu || install_qemu
if have_qemu; then build_guest; fi
