# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Functions for check-tss.sh and check-suites.sh, after lib.sh: Debian's source
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
        # Not each repository of this machine has sources, or this suite.
        apt-get "${apt[@]}" update -qq || true
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

# The machine's own lists of sources, for source packages, and of another suite: from
# both forms, deb822 (*.sources) and lines (sources.list).
source_list() {
    local files=()
    mapfile -t files < <(find /etc/apt/sources.list.d -name '*.sources')
    if [ "${#files[@]}" -gt 0 ]; then
        # Each file ends with an empty line: a block does not go on in the next file.
        sed -s '$G' "${files[@]}" | awk -v suite="$1" '
            BEGIN { RS = ""; FS = "\n" }
            /Types:.*deb/ && !/Suites:[^\n]*-security/ {
                for (i = 1; i <= NF; i++) {
                    if ($i ~ /^Types:/) $i = "Types: deb-src"
                    if ($i ~ /^Suites:/ && suite != "configured") $i = "Suites: " suite
                    print $i
                }
                print ""
            }'
    fi
    mapfile -t files < <(find /etc/apt/sources.list /etc/apt/sources.list.d -name '*.list' 2>/dev/null)
    if [ "${#files[@]}" -gt 0 ]; then
        lines_as_blocks "$1" "${files[@]}"
    fi
}

# lines_as_blocks SUITE FILE...: lines of sources.list, such as
# "deb [signed-by=KEY] URI SUITE COMPONENT...", as blocks of deb822.
lines_as_blocks() {
    awk -v suite="$1" '
        BEGIN { RS = "\n"; FS = " " }
        $1 == "deb" {
            key = ""
            if (match($0, /\[[^]]*\]/)) {
                options = substr($0, RSTART + 1, RLENGTH - 2)
                $0 = substr($0, 1, RSTART - 1) substr($0, RSTART + RLENGTH)
                if (match(options, /signed-by=[^ ]*/))
                    key = substr(options, RSTART + 10, RLENGTH - 10)
            }
            # Updates and the like have no packages of their own in another suite.
            if ($3 ~ /-security|\// || suite != "configured" && $3 ~ /-/) next
            print "Types: deb-src"
            print "URIs: " $2
            print "Suites: " (suite == "configured" ? $3 : suite)
            parts = ""
            for (i = 4; i <= NF && $i !~ /^#/; i++) parts = parts " " $i
            print "Components:" parts
            if (key != "") print "Signed-By: " key
            print ""
        }' "${@:2}"
}

# build_module: the module of these sources, whatever was built before, in $module.
build_module() {
    export module="$work/module/usr/lib" work
    step "building this module" quietly "$work/module.log" install_into "$work/module"
}
