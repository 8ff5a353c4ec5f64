# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What is done on several Debian releases: ./dev package and ./dev test-system, and the test command in a root directory of a release, ./dev test-release.
# Sourced by dev, which has the rest: directories, packages, build.
# shellcheck disable=SC2154

# shellcheck source=tests/release-root.sh
source "$here/tests/release-root.sh"

# What a booted system has, without the packages of imaged.
system_packages=(systemd systemd-sysv dbus polkitd skopeo golang-github-containers-common ostree docker-registry apache2-utils openssl
    ca-certificates procps man-db gnupg)

# The test command itself, in a root directory that has the packages it would install.
test_release() {
    (($#)) || die "test-release takes a Debian release: bookworm, trixie, testing…"
    local release=$1 tests=(--suite unit) options='' packages=("${build_packages[@]}" "${run_packages[@]}") root directory status=0
    shift
    # For the unit tests alone the root directory has less, and programs are compiled quickly, and small; a package build has them optimised.
    if (($# == 0)); then
        options="-Doptimization=0 -Ddebug=false -Dunity_size=14"
    else
        if [[ $1 == all ]]; then tests=(); else tests=("$@"); fi
        packages+=("${test_packages[@]}")
    fi
    [[ $release =~ ^[a-z]+$ ]] || die "test-release takes a Debian release: bookworm, trixie, testing… or other"
    if [[ $release == other ]]; then
        if grep -qs '^VERSION_CODENAME=trixie' /etc/os-release; then release=bookworm; else release=trixie; fi
    fi
    root=$chroots/test-$release${options:+-quick} directory=$build/release-$release${options:+-quick}
    if ((EUID == 0)); then
        install_packages mmdebstrap
        lock_release_root "$root"
    fi
    say "a root directory of $release"
    make_release_root "$release" "$root" "${packages[@]}" || status=$?
    ((status != 77)) || exit 77
    ((status == 0)) || die "there is no root directory of $release: see above"
    # ninja builds again what is older than its input, and a package has the dates that it was made with.
    if [[ $directory/build.ninja -ot $root/.made-of ]]; then rm -rf "$directory"; fi
    in_release_root "$root" "$chroots/ccache-$release" "$here" "$directory" \
        env IMAGED_BUILD_DIR=/b IMAGED_MESON_OPTIONS="$options" /src/dev test "${tests[@]}"
}

package() {
    local release=${1:-} log=$build/packages-${1:-here}.log
    install_packages "${package_packages[@]}"
    if [[ -z $release ]]; then install_packages "${build_packages[@]}"; fi
    mkdir -p "$build"
    say "building packages${release:+ for $release}"
    "$here/systemd/debian/build-packages" "$here" "$build/packages/${release:-here}" "$release" "$chroots" \
        >"$log" 2>&1 || { tail -n 40 "$log" >&2; die "no packages: see $log"; }
    say "lintian"
    lintian --fail-on error --tag-display-limit 0 "$build/packages/${release:-here}"/*.changes
    # Beside the others they would be installed with them: apt install ./build/packages/here/*.deb
    mkdir "$build/packages/${release:-here}/debug"
    find "$build/packages/${release:-here}" -maxdepth 1 -name '*-dbgsym_*.deb' -exec mv -t "$build/packages/${release:-here}/debug" {} +
    ls -l "$build/packages/${release:-here}"/*.deb
}

test_system() {
    if ((EUID != 0)); then die "test-system needs root, to boot a system"; fi
    local word release before='' releases=() options=()
    for word in "$@"; do
        if [[ $word == -* || $before == --only ]]; then options+=("$word"); else releases+=("$word"); fi
        before=$word
    done
    if ((${#releases[@]} == 0)); then releases=(bookworm trixie); fi
    install_packages "${package_packages[@]}"
    lock_release_root "$chroots/system"
    for release in "${releases[@]}"; do
        make_release_root "$release" "$chroots/system-$release" "${system_packages[@]}" || die "there is no root directory of $release: see above"
    done
    exec /usr/bin/python3 -B "$here/tests/system/run.py" --source "$here" --build "$build" --chroots "$chroots" "${options[@]}" "${releases[@]}"
}
