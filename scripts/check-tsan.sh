#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs the tests with threads under the thread sanitizer, with the standard
# library instrumented too. It uses a separate Debian 12, with the packages of
# Rust, its sources and the sanitizer's runtime there. It takes about ten
# minutes, half of them once, for the Debian; `make check` does not run it.
#
#   check-tsan.sh [PROGRAM[::MODULE...]...]   only these, as each-test.sh names them
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=debian-root.sh
. scripts/debian-root.sh

llvm=16 # any from 15 on has what the compiler calls
packages=(binutils ca-certificates cargo-web gcc libc6-dev "libclang-rt-$llvm-dev" libtpms0
    libtss2-dev libtss2-tcti-swtpm0 "llvm-$llvm" make pkg-config procps rust-web-src rustc-web
    swtpm tpm2-tools)
if [ $# = 0 ]; then
    set -- abi::esys_async abi::log bridge::model bridge::states bridge::threads endurance::load \
        libtpms::long libtpms::memory libtpms::nonblocking libtpms::state sockets::events \
        sockets::hostile sockets::hostile_stall sockets::mssim sockets::swtpm sockets::swtpm_shared
fi

scripts/setup.sh arch

system tsan bookworm,bookworm-security --include="$(IFS=,; echo "${packages[*]}")"
src="$root/src"

# The runtime belongs into programs that are instrumented, and not into libraries.
cat >"$src/tsan-cc" <<END
#!/bin/sh
for argument; do
    case "\$argument" in -shared | */build_script_build-*) exec cc "\$@" ;; esac
done
exec cc "\$@" -Wl,--whole-archive \\
    /usr/lib/llvm-$llvm/lib/clang/$llvm/lib/linux/libclang_rt.tsan-x86_64.a \\
    -Wl,--no-whole-archive,--export-dynamic -lm -lresolv -lpthread -ldl -lc \\
    -Wl,--unresolved-symbols=ignore-all # tmpnam(3), of which glibc warns
END
# A test with a race, to show that races are found.
mkdir -p "$src/tests/planted"
cat >"$src/tests/planted/main.rs" <<'END'
static mut NUMBER: u64 = 0;
#[test]
fn race() {
    let add = || (0..1000).for_each(|_| unsafe { NUMBER += 1 });
    std::thread::scope(|scope| [scope.spawn(add), scope.spawn(add)].map(|thread| thread.join()));
}
END
# dlclose(3) frees under a lock of the loader's, which the sanitizer can't see.
cat >"$src/tsan.supp" <<'END'
race:ld-linux-x86-64.so
END
chmod +x "$src/tsan-cc"

within tsan "
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Zsanitizer=thread -Zexternal-clangrt --cfg sanitized'
    export CARGO_BUILD_TARGET=x86_64-unknown-linux-gnu
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=/src/tsan-cc TSS2_LOG=all+none
    export TSAN_OPTIONS='suppressions=/src/tsan.supp external_symbolizer_path=/usr/bin/llvm-symbolizer-$llvm'
    make --no-print-directory -s install DESTDIR=/stage PREFIX=/usr LIBDIR=/usr/lib \\
        RUSTFLAGS= CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=cc
    export RUSTTCTI_MODULE_DIR=/stage/usr/lib
    export CARGO_UNSTABLE_BUILD_STD=std LIMIT=900
    scripts/each-test.sh planted >/tmp/planted 2>&1 || true
    grep -q 'WARNING: ThreadSanitizer: data race' /tmp/planted || {
        cat /tmp/planted
        echo 'check-tsan: a planted race is not found'
        exit 1
    }
    scripts/each-test.sh $*"
echo "check-tsan: passed: $*"
