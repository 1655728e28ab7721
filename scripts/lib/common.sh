# shellcheck shell=bash
# What all scripts share: where the checkout is, which tools come first, how a build folder is made.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
# Debian's own tools before anything a developer has put in front of them: they are the ones that
# scripts/setup installed.
export PATH="/usr/sbin:/usr/bin:/sbin:/bin:$PATH"

# One terse heading per step, so that a long log can be read by its headings.
heading()
{
    printf '\n== %s\n' "$*"
}

complain()
{
    printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2
}

# --help is the comment that a script begins with. Called with the script's arguments, before it does anything.
help_of()
{
    case " $* " in
        *" --help "* | *" -h "*)
            sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
    esac
}

# How many jobs: the cores there are.
jobs_count()
{
    nproc 2>/dev/null || echo 2
}

# build_folder NAME [meson options...]: configures $root/NAME once (again when the options changed)
# and builds all of it, or only $build_target.
build_target=all
build_folder()
{
    local folder="$root/$1" wanted="${CC:-gcc} ${*:2}" lock
    shift
    # Two scripts at a time may want the same folder; ninja itself does not wait for another one.
    exec {lock}>"$folder.lock"
    flock "$lock"
    if [ ! -f "$folder/build.ninja" ] || [ "$(cat "$folder/.options" 2>/dev/null)" != "$wanted" ]; then
        # In a terminal somebody waits, for minutes.
        [ ! -t 2 ] || heading "building ${folder##*/}/ for the first time: this can take minutes" >&2
        rm -rf "$folder"
        CC="${CC:-gcc}" meson setup "$folder" "$root" "$@" >"$folder.log" 2>&1 || {
            cat "$folder.log" >&2
            rm -f "$folder.log"
            return 1
        }
        rm -f "$folder.log"
        printf '%s' "$wanted" >"$folder/.options"
    fi
    # Only a failure is worth reading; all of what is wrong is shown, not the first of it.
    ninja -C "$folder" -j "$(jobs_count)" -k 0 "$build_target" >"$folder/ninja.log" 2>&1 || {
        grep -vE '^\[[0-9]+/[0-9]+\] |^ninja: Entering' "$folder/ninja.log" >&2
        return 1
    }
    exec {lock}>&-
}

# The builds. All of the project's C files pass through gcc and clang with -Werror. What users run
# is optimised across files (b_lto): small functions of one room are called by others for every
# message. -O3 on top of that was measured to bring nothing.
build_release()
{
    CC=gcc build_folder build -Dbuildtype=debugoptimized -Db_lto=true -Dtests=false
}

# The release build, and the rivals that scripts/bench compares it with.
build_bench()
{
    CC=gcc build_folder build-bench -Dbuildtype=debugoptimized -Db_lto=true -Dtests=false -Dbench=true
}

build_test()
{
    CC=gcc build_folder build-test -Dbuildtype=debugoptimized -Dwerror=true -Dbench=true \
        -Db_sanitize=address,undefined
}

build_clang()
{
    # b_lundef: clang links sanitized programs against a static runtime. fuzzer-no-link: the rooms
    # carry coverage, without which a fuzzer is blind.
    CC=clang build_folder build-clang -Dbuildtype=debugoptimized -Dwerror=true \
        -Db_sanitize=address,undefined -Db_lundef=false -Dfuzzers=true -Dbench=true \
        -Dc_args=-fsanitize=fuzzer-no-link
}

# The simulator as fast as it can be: build-sim/test/sim/brain-sim.
build_sim()
{
    local build_target=test/sim/brain-sim
    CC=gcc build_folder build-sim -Dbuildtype=debugoptimized
}

# And what measures the cost of views: build-sim/test/sim/brain-cost.
build_cost()
{
    local build_target=test/sim/brain-cost
    CC=gcc build_folder build-sim -Dbuildtype=debugoptimized
}

# The names of the fuzz targets: NAME is the program NAME_fuzz, its corpus test/fuzz/corpus/NAME.
fuzz_targets()
{
    find "$root/build-clang/test/fuzz" -maxdepth 1 -type f -executable -name '*_fuzz' -printf '%f\n' \
        2>/dev/null | sed 's/_fuzz$//' | sort
}

# The sanitizers' word is final: every report ends the process with a status that no program of ours
# uses itself.
export ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:exitcode=99:allocator_may_return_null=1:detect_stack_use_after_return=1"
export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:exitcode=99"
export LSAN_OPTIONS="exitcode=99"
