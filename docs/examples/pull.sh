#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Pulls an image and waits for the end of the job, with busctl: pull.sh IMAGE
set -eu
answer=$(busctl ${BUS:-} call org.imaged1 /org/imaged1 org.imaged1.Manager Pull 'sa{sv}' "$1" 0)
job=/org/imaged1/job/$(echo "$answer" | cut -d' ' -f2)
# Fails when imaged has left the bus: the next one does not know the job.
property() { value=$(busctl ${BUS:-} get-property org.imaged1 "$job" org.imaged1.Job "$1") && echo "$value" | cut -d'"' -f2; }
state=
until [ "$state" = finished ]; do
    sleep 0.2
    state=$(property State)
done
result=$(property Result)
echo "$result $(property ErrorMessage)"
[ "$result" = success ]
