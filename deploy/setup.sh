#!/bin/sh
# Installs what building, testing and the lab need, on Debian 12 as root. Does nothing when all is there.
set -eu

# clang, libbpf-dev      the BPF programs
# libclang-rt-14-dev     fuzzing them in user space, with sanitizers
# llvm-14                what of them the fuzzer covered
# gcc, libc6-dev         linking, and the C and assembly in `ring`
# protobuf-compiler,     the etcd client is generated at build time, from
# libprotobuf-dev        definitions that include Google's own
# nftables, iproute2     the agent's firewall; the lab's hosts
# dnsmasq-base           the providers' DHCP in the lab
# radvd                  router advertisements with flags, resolvers and lifetimes, which end
# iputils-ping           the lab's selftest
# dropbear-bin           SSH to a node whose cards are elsewhere
# etcd-client            etcdctl: tests put objects without our API
# tcpdump                looking at the lab's wires
# bpftool                tests ask somebody else which programs are attached
# wireguard-go, -tools   another WireGuard for our workers to talk to in tests
# python3-venv           schemathesis, which attacks the API by its description, is installed from PyPI
# kmod                   the stock kernels that tests boot load their modules with it
packages="clang libbpf-dev libclang-rt-14-dev llvm-14 gcc libc6-dev protobuf-compiler libprotobuf-dev nftables iproute2 dnsmasq-base radvd iputils-ping etcd-client tcpdump bpftool wireguard-go wireguard-tools kmod dropbear-bin python3-venv"

missing=""
for package in $packages; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "setup: these packages are missing:$missing" >&2
        echo "setup: run \`sudo make setup\`" >&2
        exit 1
    fi
    echo "setup: installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

if ! command -v cargo >/dev/null; then
    echo "setup: cargo is missing: install Rust from https://rustup.rs, then open a new shell" >&2
    exit 1
fi
