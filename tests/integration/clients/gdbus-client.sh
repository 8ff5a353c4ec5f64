#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
set -eu
export DBUS_SESSION_BUS_ADDRESS=$1
image=$2
call() { gdbus call --session --dest org.imaged1 --object-path "$@"; }
property() { call "$1" --method org.freedesktop.DBus.Properties.Get org.imaged1.Job "$2" | sed "s/^(<'*//; s/'*>,)\$//"; }

follow() {
    if ! answer=$(call /org/imaged1 --method org.imaged1.Manager.Pull "$2" '{}' 2>&1); then
        echo "$1: $answer"
        return
    fi
    path=$(echo "$answer" | sed "s/.*'\\(.*\\)'.*/\\1/")
    progress=
    while [ "$(property "$path" State)" != finished ]; do :; done
    if [ "$(property "$path" Fraction)" != 0.0 ]; then progress=progress; fi
    echo "$1: $(property "$path" Result) $(property "$path" ErrorName)$progress"
}

follow pull "$image"
follow error oci:/nonexistent:x
echo "list: $(call /org/imaged1 --method org.imaged1.Manager.ListImages '{}' | grep -o "'image':" | wc -l)"
