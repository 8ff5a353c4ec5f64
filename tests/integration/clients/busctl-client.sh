#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
set -eu
address=$1 image=$2
call() { busctl --address="$address" --json=short "$@"; }
property() { call get-property org.imaged1 "$1" org.imaged1.Job "$2" | sed 's/.*"data"://; s/}$//; s/"//g'; }

follow() {
    if ! answer=$(call call org.imaged1 /org/imaged1 org.imaged1.Manager Pull 'sa{sv}' "$2" 0 2>&1); then
        echo "$1: $answer"
        return
    fi
    path=$(echo "$answer" | sed 's/.*,"//; s/".*//')
    progress=
    while [ "$(property "$path" State)" != finished ]; do :; done
    if [ "$(property "$path" Fraction)" != 0 ]; then progress=progress; fi
    echo "$1: $(property "$path" Result) $(property "$path" ErrorName)$progress"
}

follow pull "$image"
follow error oci:/nonexistent:x
echo "list: $(call call org.imaged1 /org/imaged1 org.imaged1.Manager ListImages 'a{sv}' 0 | grep -o '"image":' | wc -l)"
