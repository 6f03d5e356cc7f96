# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# What check-tss.sh and check-suites.sh share, after lib.sh: Debian's source
# packages, and the module, in the folder $work.
# shellcheck disable=SC2154

# get_source PACKAGE "SUITE...": the source package in $work/PACKAGE, from the
# mirror that this machine installs from.
get_source() {
    local package=$1 suites=$2 suite apt
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
    apt=(-o "Dir::Etc::sourcelist=$work/apt/list.sources" -o "Dir::Etc::sourceparts=-"
        -o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache"
        -o "APT::Sandbox::User=root")
    for suite in configured $suites; do
        source_list "$suite" >"$work/apt/list.sources"
        apt-get "${apt[@]}" update -qq || continue
        if (cd "$work" && apt-get "${apt[@]}" source -qq --download-only "$package"); then
            (cd "$work" && dpkg-source --no-check -x "$(newest_dsc "$package")" "$package" >/dev/null)
            return 0
        fi
        rm -f "$work/$package"_*
        echo "$me: no source of $package in the suites: $suite" >&2
    done
    echo "$me: it is in none of these Debian suites; others can be named (see the script's head)" >&2
    return 1
}

newest_dsc() {
    # shellcheck disable=SC2012 # names of Debian source packages are plain
    ls -t "$1"_*.dsc | head -n 1
}

# The machine's own list of sources, for source packages, and of another suite.
source_list() {
    local files=(/etc/apt/sources.list.d/*.sources)
    [ -e "${files[0]}" ] ||
        fail "there is no /etc/apt/sources.list.d/*.sources to take the mirror from"
    awk -v suite="$1" '
        BEGIN { RS = ""; FS = "\n" }
        /Types:.*deb/ && !/Suites:[^\n]*-security/ {
            for (i = 1; i <= NF; i++) {
                if ($i ~ /^Types:/) $i = "Types: deb-src"
                if ($i ~ /^Suites:/ && suite != "configured") $i = "Suites: " suite
                print $i
            }
            print ""
        }' "${files[@]}"
}

# build_module: the module of these sources, whatever was built before, in $module.
build_module() {
    export module="$work/module/usr/lib" work
    step "building this module" quietly "$work/module.log" install_into "$work/module"
}
