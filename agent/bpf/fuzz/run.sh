#!/bin/sh
# Fuzzes the programs in user space and keeps what it finds: corpus/ (minimised) and RESULTS.md.
# Usage: run.sh [seconds, default 60]. Needs clang with its runtime (libclang-rt-14-dev) and llvm (llvm-14).
set -eu

seconds=${1:-60}
folder=$(cd "$(dirname "$0")" && pwd)
clang=${CLANG:-clang}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$folder"

flags="-std=gnu11 -g -Wall -Werror -Wno-unused-function -Iuserspace target.c"
# shellcheck disable=SC2086  # a list of words
$clang -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all $flags -o "$work/fuzz"
# shellcheck disable=SC2086
$clang -O1 -fsanitize=fuzzer -fprofile-instr-generate -fcoverage-mapping $flags -o "$work/coverage"

mkdir -p corpus "$work/found" "$work/minimal"
# An input that fails ends this, and is left behind as crash-<hash> beside the target.
"$work/fuzz" -max_len=1024 -len_control=0 -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="$folder/" \
    "$work/found" corpus 2>"$work/log" || { tail -n 40 "$work/log" >&2; exit 1; }
# Of inputs that do the same the fewest: a small corpus is one that people keep.
"$work/fuzz" -set_cover_merge=1 -max_len=1024 "$work/minimal" corpus "$work/found" 2>"$work/merge"
rm -rf corpus
mkdir corpus
# shellcheck disable=SC2012  # names are hashes
ls -S "$work/minimal" | head -n 280 | while read -r name; do mv "$work/minimal/$name" corpus; done

LLVM_PROFILE_FILE="$work/raw" "$work/coverage" -runs=0 corpus 2>/dev/null
llvm-profdata merge -o "$work/profile" "$work/raw"
llvm-cov report "$work/coverage" -instr-profile="$work/profile" "$folder"/../c/*.h >"$work/report" 2>/dev/null

executions=$(sed -n 's/^stat::number_of_executed_units: //p' "$work/log")
edges=$(sed -n 's/.* cov: \([0-9]*\) ft: \([0-9]*\) .*/\1 (\2 features)/p' "$work/log" | tail -n 1)
{
    echo "# Fuzzing the programs in user space"
    echo
    echo "\`make fuzz\` writes this. The programs are compiled from the headers that the kernel's are, with address and"
    echo "undefined-behaviour sanitizers, and compared packet by packet with an oracle that shares no line with them"
    echo "(oracle.h, seen.h): verdict, counters, bytes, mark, what was learned, what was handed to the agent."
    echo
    echo "| what | value |"
    echo "|---|---|"
    echo "| date | $(date -u +%F) |"
    echo "| compiler | $($clang --version | head -n 1) |"
    echo "| seconds | $seconds |"
    echo "| executions | $executions |"
    echo "| edges | $edges |"
    echo "| corpus | $(find corpus -type f | wc -l) files, $(cat corpus/* | wc -c) bytes |"
    echo
    echo "Coverage of the headers by the corpus (llvm-cov):"
    echo
    echo "| header | lines | not run | covered | regions covered |"
    echo "|---|---|---|---|---|"
    awk '/c\/[a-z]*\.h / { sub(/.*c\//, "", $1); if ($8 != "0") print "| " $1 " | " $8 " | " $9 " | " $10 " | " $4 " |" }' "$work/report"
} >RESULTS.md
cat RESULTS.md
