# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What takes long: ./dev soak; and builds with instrumentation, each in a directory of its own, with what runs in them: ./dev fuzz, ./dev sanitize.
# Sourced by dev, which has the rest: directories, packages, build.
# shellcheck disable=SC2154

soak() {
    (($#)) || die "soak takes what to run: kill, power, hostile, faults, callers, memory, stacks, longrun, odd, mix or fleet"
    local kind=$1
    shift
    install_packages "${build_packages[@]}" "${run_packages[@]}" "${test_packages[@]}" "${soak_packages[@]}"
    build >&2
    export IMAGED=$build/daemon/imaged IMAGED_WORKER=$build/daemon/worker/imaged-worker IMAGECTL=$build/client/imagectl
    export IMAGED_PROXY=$build/daemon/proxy/imaged-proxy BUS_POLICY=$build/dbus/org.imaged1.conf
    export SOURCE_ROOT=$here PYTHONDONTWRITEBYTECODE=1 FAULT_LAYER=$build/tests/integration/fault-layer.so
    case $kind in
        kill | power | longrun | odd | mix | fleet) /usr/bin/python3 "$here/tests/soak/$kind.py" "$@" ;;
        hostile)
            /usr/bin/python3 "$here/tests/integration/test-hostile-images.py" --long "$@"
            /usr/bin/python3 "$here/tests/integration/test-chunked-hostile.py" --long "$@" Mixed
            /usr/bin/python3 "$here/tests/integration/test-delta.py" --long "$@" Hostile
            /usr/bin/python3 "$here/tests/integration/test-delta-export.py" --long "$@" Hostile
            ;;
        faults)
            LONG=1 /usr/bin/python3 "$here/tests/integration/test-rollback.py" "$@"
            LONG=1 /usr/bin/python3 "$here/tests/integration/test-delta-export.py" \
                Hostile.test_a_job_that_is_killed_before_a_call_leaves_its_destination_unchanged_or_whole
            /usr/bin/python3 "$here/tests/integration/test-delta.py" --long Killed KilledOnTheWire
            ;;
        callers)
            LIST_LIMIT=0.05 /usr/bin/python3 "$here/tests/integration/test-hostile-callers.py" --verbose "$@"
            local test
            for test in busy-users other-users polkit-questions time-limit hangs; do /usr/bin/python3 "$here/tests/integration/test-$test.py" --verbose; done
            ;;
        memory)
            /usr/bin/python3 "$here/tests/integration/test-memory.py" --long "$@"
            /usr/bin/python3 "$here/tests/integration/test-chunked-hostile.py" --long "$@" Large
            ;;
        stacks) ROUNDS=1000 /usr/bin/python3 "$here/tests/integration/test-merge.py" "$@" ;;
        *) die "soak knows no '$kind'" ;;
    esac
}

# What a fuzzer finds ends it at once, with a report.
fuzzer_options() {
    export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=0
    export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
    # What GLib or libostree calls a programming error is one, though it goes on.
    export G_DEBUG=fatal-criticals
    export LSAN_OPTIONS=suppressions=$here/tests/leak-sanitizer.supp:print_suppressions=0
}

fuzz() {
    local directory=${IMAGED_FUZZ_BUILD_DIR:-$here/build-fuzz} target=${1:-list} seconds=${2:-60} name names=()
    for name in "$here"/tests/fuzz/*.cpp; do
        name=$(basename "$name" .cpp)
        if [[ $name != read-corpus ]]; then names+=("$name"); fi
    done
    if [[ $target == list ]]; then printf '%s\n' "${names[@]}"; return; fi
    if [[ $target != all ]]; then
        [[ -f $here/tests/fuzz/$target.cpp && $target != read-corpus ]] || die "there is no fuzzer '$target'; ./dev fuzz list names them"
        names=("$target")
    fi
    install_packages "${build_packages[@]}" "${fuzz_packages[@]}"
    if [[ ! -f $directory/build.ninja ]]; then
        CC="ccache clang" CXX="ccache clang++" meson setup "$directory" "$here" --buildtype=plain -Doptimization=1 -Dfuzz=true \
            -Db_sanitize=address,undefined -Db_lundef=false \
            -Dcpp_args='-g1 -fsanitize=fuzzer-no-link -fno-sanitize-recover=all -fno-omit-frame-pointer' >/dev/null ||
            die "meson setup failed: see $directory/meson-logs/meson-log.txt"
    fi
    say "building in $directory"
    ninja -C "$directory" --quiet "${names[@]/#/tests/fuzz/fuzz-}"
    fuzzer_options
    local status=0 log
    for name in "${names[@]}"; do
        say "fuzzing $name for $seconds s"
        # What is found anew stays with the build; the corpus of the source tree is read only.
        mkdir -p "$directory/corpus/$name" "$directory/crashes"
        log=$directory/fuzz-$name.log
        # Tars and documents of the field are some kilobytes; a minute or 2 GiB for one of them is a fault of ours.
        "$directory/tests/fuzz/fuzz-$name" -max_total_time="$seconds" -max_len=65536 -timeout=60 -rss_limit_mb=2048 \
            -print_final_stats=1 -artifact_prefix="$directory/crashes/$name-" \
            "$directory/corpus/$name" "$here/tests/fuzz/corpus/$name" >"$log" 2>&1 || { tail -n 60 "$log"; status=1; }
        grep -E 'DONE|^Done|number_of_executed_units|peak_rss_mb' "$log" || true
    done
    if ((status)); then die "a fuzzer found something: inputs are in $directory/crashes"; fi
}

sanitize() {
    local kind=${1:-} what directory reports before=()
    case $kind in
        address) what=address,undefined ;;
        thread) what=thread ;;
        *) die "sanitize takes address or thread" ;;
    esac
    shift
    directory=${IMAGED_SANITIZE_BUILD_DIR:-$here/build-$kind}
    setup
    if [[ ! -f $directory/build.ninja ]]; then
        # Unoptimised: what optimising these builds costs is never won back by the tests.
        meson setup "$directory" "$here" --buildtype=plain -Doptimization=0 -Dunity_size=14 -Db_sanitize="$what" -Db_lundef=false \
            -Dcpp_args='-g1 -fno-omit-frame-pointer' >/dev/null || die "meson setup failed: see $directory/meson-logs/meson-log.txt"
    fi
    build=$(cd "$directory" && pwd)
    build
    # Where tests/sanitizer-options.cpp has every program leave its reports, whoever it runs as.
    reports=/var/tmp/imaged-sanitizer-reports-${build//[^a-zA-Z0-9]/_}
    rm -rf "$reports"
    mkdir -m 1777 "$reports"
    if (($#)); then set -- "$@" sanitizer-reports; fi
    # TSan of GCC 12 finds no room for its shadow where the kernel spreads addresses widely.
    if [[ $kind == thread ]] && setarch --addr-no-randomize true 2>/dev/null; then before=(setarch --addr-no-randomize); fi
    say "testing under the $kind sanitizer"
    local log=$build/meson-logs/testlog.json
    rm -f "$log"
    "${before[@]}" meson test -C "$build" --no-rebuild --print-errorlogs --timeout-multiplier 5 "$@" || true
    [[ -f $log ]] || die "no test ran: see above"
    python3 "$here/tests/count-cases.py" "$log"
}
