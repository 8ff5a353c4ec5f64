#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Pulls an image and waits for the end of the job, with busctl: pull.sh IMAGE
set -eu
answer=$(busctl ${BUS:-} call org.imaged1 /org/imaged1 org.imaged1.Manager Pull 'sa{sv}' "$1" 0)
job=/org/imaged1/job/$(echo "$answer" | cut -d' ' -f2)
property() { busctl ${BUS:-} get-property org.imaged1 "$job" org.imaged1.Job "$1" | cut -d'"' -f2; }
until [ "$(property State)" = finished ]; do sleep 0.2; done
echo "$(property Result) $(property ErrorMessage)"
[ "$(property Result)" = success ]
