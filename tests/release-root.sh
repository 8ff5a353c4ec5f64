# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Root directories of Debian releases, made once and kept, and commands run in them. Sourced by dev and by systemd/debian/build-packages.

# Without these, ccache keeps nothing that was compiled with a precompiled header.
export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros,include_file_ctime,include_file_mtime}

# Older ones are made anew: they lack what the release has corrected since, or what the next one has changed.
release_root_minutes=$((30 * 24 * 60))
next_release_root_minutes=$((12 * 60))
# release_root_mirror: where this machine's apt gets Debian from. Without package lists apt does not know which of its sources that is.
release_root_mirror() {
    compgen -G "/var/lib/apt/lists/*_InRelease" >/dev/null || apt-get update -qq >/dev/null 2>&1 || true
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | sed -E '/-security|-debug/d; s|/$||' | head -n 1
}

# lock_release_root ROOT: until this shell ends, nobody else replaces ROOT or builds in it.
lock_release_root() {
    mkdir -p "$(dirname "$1")"
    exec 9>"$1.lock"
    flock --nonblock 9 || { echo "waiting for another run in $1" >&2; flock 9; }
}

# make_release_root RELEASE ROOT PACKAGE…: makes ROOT, or keeps what is there, if it was made whole, of the same list and not long ago.
# The status is 77 where it cannot be used because this is not root, or be made because the archive is out of reach.
make_release_root() {
    local release=$1 root=$2 minutes=$release_root_minutes made_of age=missing
    shift 2
    case $release in testing | unstable | sid) minutes=$next_release_root_minutes ;; esac
    if ! unshare --mount --pid --fork true 2>/dev/null; then
        echo "a root directory of $release needs root, with the right to mount" >&2
        return 77
    fi
    made_of="$release $*"
    if [[ -f $root/.made-of && $(<"$root/.made-of") == "$made_of" ]]; then
        if [[ -n $(find "$root/.made-of" -mmin "-$minutes") ]]; then return; fi
        age=old
    fi
    if ! archive_has "$release"; then
        echo "Debian's archive has no $release, or is out of reach" >&2
        if [[ $age == old ]]; then
            echo "$root is used though it is old" >&2
            return
        fi
        # Another release's name is a mistake, and no lack of an archive.
        if archive_has stable; then return 1; fi
        return 77
    fi
    # What an interrupted run left. One that was made whole is removed only when the new one is there.
    rm -rf --one-file-system "$root.new"
    local packages=$* option apt=()
    for option in ${IMAGED_APT_OPTIONS:-}; do apt+=("--aptopt=${option%%=*} \"${option#*=}\""); done
    # It ends with this shell, which holds the lock. With --quiet it would not print apt's reason.
    if ! setpriv --pdeathsig KILL unshare --mount-proc --pid --fork --kill-child mmdebstrap --variant=minbase "${apt[@]}" \
        --include="${packages// /,}" "$release" "$root.new" "$(release_root_mirror)" >"$root.log" 2>&1; then
        grep -E '^(E|W): ' "$root.log" >&2 || tail -n 20 "$root.log" >&2
        [[ $age == old ]] || return 1
        echo "$root is used though it is old" >&2
        return
    fi
    # As at the first boot: without one, nobody has an answer to org.freedesktop.DBus.Peer.GetMachineId.
    tr -d - </proc/sys/kernel/random/uuid >"$root.new/etc/machine-id"
    printf '%s\n' "$made_of" >"$root.new/.made-of"
    rm -f "$root/.made-of" # first: without it, what is half removed is not taken for whole
    rm -rf --one-file-system "$root"
    mv -T "$root.new" "$root"
}

archive_has() {
    local scratch status=0
    scratch=$(mktemp -d)
    /usr/lib/apt/apt-helper download-file "$(release_root_mirror)/dists/$1/InRelease" "$scratch/InRelease" >/dev/null 2>&1 || status=1
    rm -rf "$scratch"
    return "$status"
}

# in_release_root ROOT CACHE SOURCE BUILD COMMAND…: runs it in ROOT, with SOURCE at /src, read-only, BUILD at /b, and CACHE for ccache.
# Processes and mounts end with it, or with this shell. What it writes is in BUILD, temporary files too, so that ROOT stays as it was made.
in_release_root() {
    local status=0 temporary=$4/tmp
    rm -rf "$temporary"
    mkdir -p "$2" "$temporary"
    chmod 1777 "$temporary"
    # shellcheck disable=SC2016
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child bash -euc '
        root=$1
        mount --bind "$root" "$root" # a mount point: in it, mount namespaces may be had
        mkdir -p "$root/src" "$root/b" "$root/var/cache/ccache" "$root/dev/pts" "$root/dev/shm"
        mount --bind "$2" "$root/var/cache/ccache"
        mount --bind -o ro "$3" "$root/src"
        mount --bind "$4" "$root/b"
        mount --bind "$4/tmp" "$root/tmp"
        mount --bind "$4/tmp" "$root/var/tmp"
        mount -t proc proc "$root/proc"
        mount --rbind /sys "$root/sys"
        mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
        mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
        mount -t tmpfs -o mode=0755 tmpfs "$root/run"
        shift 4
        cd "$root" # the root of its mount namespace, which a chroot is not: programs make mount namespaces of their own in it
        pivot_root . .
        umount -l .
        exec chroot . /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
            CCACHE_DIR=/var/cache/ccache CCACHE_SLOPPINESS="$CCACHE_SLOPPINESS" DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS:-}" "$@"' bash "$@" || status=$?
    rm -rf "$temporary"
    return "$status"
}
