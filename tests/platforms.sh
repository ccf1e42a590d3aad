#!/usr/bin/env bash
# platforms.sh - the golden run and the unit tests with every compiler, processor, byte order and
# system that is here: equal bits, or the first stage that differs.  Run it from the top.
#   tests/platforms.sh                      all platforms; what is not installed is skipped
#   tests/platforms.sh gcc s390x wasm       these
#   tests/platforms.sh --install NAME ...   first gets what they need from Debian's packages
# Foreign processors are emulated (qemu-user): 20 to 200 times slower, which is why test_model and,
# most of the time, test_files are left to the machines that are real.  One line of the table is one build.
set -u
cd "$(dirname "$0")/.." || exit 1
all="gcc clang tcc musl i686 aarch64 armhf riscv64 ppc64le ppc64 powerpc s390x mips wasm windows"
install=0
if [ "${1:-}" = --install ]; then install=1; shift; fi
wanted=${*:-$all}
passed=0 failed=0 skipped=0
root=build/platforms
export WINEPREFIX=$PWD/$root/wine WINEDEBUG=-all
few="ops data" every="ops data files model"

packages() { # of a platform
    case $1 in
    gcc) echo gcc ;;
    clang) echo clang ;;
    tcc) echo tcc ;;
    musl) echo gcc musl-tools ;;
    i686) echo gcc-i686-linux-gnu libc6-dev-i386-cross qemu-user-static ;;
    aarch64) echo gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static ;;
    armhf) echo gcc-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-user-static ;;
    riscv64) echo gcc-riscv64-linux-gnu libc6-dev-riscv64-cross qemu-user-static ;;
    ppc64le) echo gcc-powerpc64le-linux-gnu libc6-dev-ppc64el-cross qemu-user-static ;;
    ppc64) echo gcc-powerpc64-linux-gnu libc6-dev-ppc64-cross qemu-user-static ;;
    powerpc) echo gcc-powerpc-linux-gnu libc6-dev-powerpc-cross qemu-user-static ;;
    s390x) echo gcc-s390x-linux-gnu libc6-dev-s390x-cross qemu-user-static ;;
    mips) echo gcc-mips-linux-gnu libc6-dev-mips-cross qemu-user-static ;;
    wasm) echo clang lld wasi-libc libclang-rt-14-dev-wasm32 nodejs ;;
    windows) echo gcc-mingw-w64-x86-64-posix wine wine64 ;;
    *) echo "platforms.sh: there is no platform $1; there are: $all" >&2; exit 2 ;;
    esac
}

line() { # PLATFORM BUILD ORDER BITS CODE THREADS TESTS RESULT SECONDS
    printf '| %-8s | %-34s | %-6s | %-2s | %-7s | %-7s | %-27s | %-7s | %7s |\n' "$@"
}

skip() { # PLATFORM WHY
    skipped=$((skipped + 1))
    line "$1" "$2" "" "" "" "" "" skipped ""
}

run() { # RUNNER PROGRAM ARGUMENT ...: a time limit, for an emulator may hang
    local runner=$1 program=$2 status
    shift 2
    if [ -e "$program.exe" ]; then program=$program.exe; fi
    timeout 3000 $runner "$program" "$@"
    status=$?
    if [ "${runner%% *}" = node ] && [ $status -ge 128 ]; then # has crashed at exit, checks done
        timeout 3000 $runner "$program" "$@"
        status=$?
    fi
    return $status
}

# row PLATFORM 'BUILD' RUNNER 'THREADS' 'TESTS' MAKE_ARGUMENT ...
# BUILD is what the table says of compiler and flags; RUNNER "" runs the programs themselves.
row() {
    local platform=$1 build=$2 runner=$3 threads=$4 tests=$5 began=$SECONDS result=passed
    local order="" bits="" code="" dir t programs=""
    shift 5
    dir=$root/$platform.$(printf '%s ' "$@" | cksum | cut -d' ' -f1)
    mkdir -p "$dir"
    for t in $tests; do programs="$programs $dir/test_$t"; done
    if ! make -s "B=$dir" "$@" "$dir/golden" $programs > "$dir/log" 2>&1; then
        result=FAILED
        grep -m 3 -E 'error|Error' "$dir/log"
    fi
    for t in golden $tests; do
        [ "$result" = passed ] || break
        if [ "$t" = golden ]; then set -- "$dir/golden" "$dir" $threads
        else set -- "$dir/test_$t" "$dir"; fi
        run "$runner" "$@" > "$dir/log" 2>&1 && continue
        result=FAILED
        echo "$platform, $build: $1"
        tail -n 5 "$dir/log"
    done
    if [ "$result" = passed ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    t=$(run "$runner" "$dir/golden" --machine 2> /dev/null | tr -d '\r')
    [ -n "$t" ] && read -r order bits code <<< "$t"
    line "$platform" "$build" "$order" "$bits" "$code" "${threads// /,}" "golden $tests" "$result" \
        $((SECONDS - began))
}

native() { # COMMAND: a compiler for this machine, in all ways that could matter
    local cc=$1 four="1 2 3 5" o
    row "$cc" "-O3 -march=native" "" "$four" "$every" "CC=$cc"
    row "$cc" "-O3 -march=native, no pthreads" "" 1 "$every" "CC=$cc" THREADS=0
    for o in -O0 -O2; do
        row "$cc" "$o -march=native" "" "$four" "" "CC=$cc" "OPT=$o"
    done
    for o in -O0 -O2 -O3; do
        row "$cc" "$o" "" "$four" "" "CC=$cc" ARCH= "OPT=$o"
    done
    row "$cc" "-O3, no vectors" "" "$four" "" "CC=$cc" ARCH= CFLAGS=-DMAC_NO_VECTOR
    if [ "$(uname -m)" = x86_64 ]; then
        row "$cc" "-O3 -mavx2" "" "$four" "" "CC=$cc" ARCH=-mavx2
    fi
}

foreign() { # PLATFORM TRIPLET QEMU FLAG ...
    local platform=$1 cc=$2-gcc qemu=qemu-$3-static tests=$few
    shift 3
    command -v "$cc" > /dev/null || { skip "$platform" "no $cc"; return; }
    if [ "$platform" = i686 ]; then # many a kernel runs this by itself
        mkdir -p $root && echo 'int main(void) { return 0; }' > $root/one.c
        "$cc" -static $root/one.c -o $root/one && $root/one 2> /dev/null && qemu=""
    fi
    [ -z "$qemu" ] || command -v "$qemu" > /dev/null || { skip "$platform" "no $qemu"; return; }
    # test_ops compares with glibc's expl, which on 32-bit PowerPC takes an instruction that older
    # processors read as mffs and qemu 7.2 refuses.
    [ "$platform" != powerpc ] || tests="data files"
    row "$platform" "gcc -O2${*:+ $*}" "$qemu" 2 "$tests" \
        "CC=$cc" ARCH= OPT=-O2 "CFLAGS=-static $*"
}

one() { # PLATFORM
    local clang="clang --target=wasm32-wasi" cc=x86_64-w64-mingw32-gcc
    case $1 in
    gcc | clang)
        if command -v "$1" > /dev/null; then native "$1"; else skip "$1" "no $1"; fi ;;
    tcc)
        command -v tcc > /dev/null || { skip tcc "no tcc"; return; }
        row tcc "" "" 1 "$every" CC=tcc ARCH= WARN= THREADS=0 ;;
    musl)
        command -v musl-gcc > /dev/null || { skip musl "no musl-gcc"; return; }
        row musl "gcc -O3" "" "1 2 3 5" "$every" CC=musl-gcc ARCH= CFLAGS=-static ;;
    i686) foreign i686 i686-linux-gnu i386 -msse2 -mfpmath=sse ;;
    aarch64) foreign aarch64 aarch64-linux-gnu aarch64 ;;
    armhf) foreign armhf arm-linux-gnueabihf arm ;;
    riscv64) foreign riscv64 riscv64-linux-gnu riscv64 ;;
    ppc64le) foreign ppc64le powerpc64le-linux-gnu ppc64le ;;
    ppc64) foreign ppc64 powerpc64-linux-gnu ppc64 ;;
    powerpc) foreign powerpc powerpc-linux-gnu ppc ;;
    s390x) foreign s390x s390x-linux-gnu s390x -std=gnu11 ;;
    mips) foreign mips mips-linux-gnu mips ;;
    wasm)
        echo 'int main(void) { return 0; }' > $root/one.c
        $clang $root/one.c -o $root/one 2> /dev/null || { skip wasm "no $clang"; return; }
        command -v node > /dev/null || { skip wasm "no node"; return; }
        # Compiled once and for all: node 20 has crashed at exit while it was still optimising.
        # It still does after test_model, whose checks have all passed by then; so that is left out.
        row wasm "clang -O3" "node --no-warnings --no-liftoff tests/wasi.mjs" 1 "$few files" \
            "CC=$clang" ARCH= THREADS=0 CFLAGS=-Wl,-z,stack-size=1048576 ;;
    windows)
        command -v $cc > /dev/null || { skip windows "no $cc"; return; }
        command -v wine > /dev/null || { skip windows "no wine"; return; }
        row windows "gcc -O3 (mingw-w64, wine)" wine "1 2 3 5" "$every" CC=$cc ARCH= CFLAGS=-static
        wineserver -k ;;
    esac
}

needed=""
for name in $wanted; do needed="$needed $(packages "$name")" || exit 2; done
if [ $install = 1 ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q > /dev/null
    apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 $needed > /dev/null
fi
mkdir -p $root
line platform build order bits code threads tests result seconds
line --- --- --- --- --- --- --- --- ---
for name in $wanted; do one "$name"; done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
