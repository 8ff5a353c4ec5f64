#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The shells' completions of imagectl: verbs and options as its help has them, images and jobs as imaged has them."""
import os
import shutil
import subprocess
import tempfile
import unittest

SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
IMAGECTL = os.environ.get("IMAGECTL", "imagectl")
IMAGES = ["docker://registry.example/a:1", "docker://registry.example/b:2", "oci:/srv/x:y"]
# imagectl, but for what it would have to ask a daemon.
STUB = """#!/bin/sh
case "$*" in
    *--help*) exec {program} "$@" ;;
    '--json list') echo '[{images}]' ;;
    jobs) printf 'JOB  KIND\\n  7  pull\\n 12  pull\\n' ;;
esac
"""


class Completions(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)
        images = ",".join('{"image":"%s","layers":1}' % image for image in IMAGES)
        with open(self.directory + "/imagectl", "w", encoding="utf-8") as file:
            file.write(STUB.format(program=IMAGECTL, images=images))
        os.chmod(self.directory + "/imagectl", 0o755)
        self.environment = {**os.environ, "PATH": self.directory + ":" + os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    def run_shell(self, *command):
        run = subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=60)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout.split()

    def bash(self, line):
        """What bash offers at the end of LINE, its words split at colons as readline does."""
        return self.run_shell("bash", "-c", f"""
            COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
            source {SOURCES}/client/completions/imagectl.bash
            compopt() {{ :; }}
            COMP_LINE=$1 COMP_POINT=${{#1}}
            words=$1; [[ $words == *' ' ]] && words+='""'
            eval "COMP_WORDS=($words)"
            COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            _imagectl imagectl "${{COMP_WORDS[COMP_CWORD]}}" ''
            printf '%s\\n' "${{COMPREPLY[@]}}" """, "bash", line)

    def verbs(self):
        text = subprocess.run([IMAGECTL, "--help"], capture_output=True, text=True, check=True).stdout
        return {line.split()[0] for line in text.split("Verbs:\n")[1].split("\n\n")[0].split("\n")}

    def test_bash_offers_verbs_options_images_and_jobs(self):
        self.assertEqual(set(self.bash("imagectl ")), self.verbs())
        self.assertEqual(self.bash("imagectl pre"), ["prepare"])
        self.assertIn("--authfile", self.bash("imagectl pull --"))
        self.assertNotIn("--authfile", self.bash("imagectl list --"))
        self.assertEqual(self.bash("imagectl show "), IMAGES)
        self.assertEqual(self.bash("imagectl show docker://registry.example/b"), ["//registry.example/b:2"])
        self.assertEqual(self.bash("imagectl cancel "), ["7", "12"])
        self.assertEqual(self.bash("imagectl watch 1"), ["12"])

    def test_bash_runs_nothing_that_stands_in_a_name(self):
        mark = self.directory + "/ran"
        name = f"docker://registry.example/$(touch${{IFS}}{mark})`touch${{IFS}}{mark}`"
        with open(self.directory + "/imagectl", "w", encoding="utf-8") as file:
            file.write(STUB.format(program=IMAGECTL, images='{"image":"%s"}' % name).replace("echo '[", "cat <<'END'\n[").replace("]' ;;", "]\nEND\n;;"))
        offered = self.bash("imagectl show docker://")
        self.assertFalse(os.path.exists(mark), "a command in a name was run")
        # Nor when the line is run that it was put into.
        self.run_shell("bash", "-c", f"echo docker:{offered[0]}")
        self.assertFalse(os.path.exists(mark), "a command in a name was run")

    @unittest.skipUnless(shutil.which("fish"), "needs fish")
    def test_fish_offers_verbs_options_images_and_jobs(self):
        def fish(line):
            return self.run_shell("fish", "-c", f"source {SOURCES}/client/completions/imagectl.fish; complete -C '{line}'")
        self.assertEqual(set(fish("imagectl ")), self.verbs())
        self.assertIn("--authfile", fish("imagectl pull --"))
        self.assertEqual(fish("imagectl show oci"), [IMAGES[2]])
        self.assertEqual(fish("imagectl cancel "), ["7", "12"])

    @unittest.skipUnless(shutil.which("zsh"), "needs zsh")
    def test_zsh_offers_verbs_options_images_and_jobs(self):
        def zsh(*words):
            return self.run_shell("zsh", "-fc", f"""
                compadd() {{ shift; print -l -- "${{(@P)1}}"; }}
                _files() {{ :; }}
                words=("$@") CURRENT=$#
                source {SOURCES}/client/completions/_imagectl""", "zsh", *words)
        self.assertEqual(set(zsh("imagectl", "")), self.verbs())
        self.assertIn("--authfile", zsh("imagectl", "pull", "--"))
        self.assertEqual(zsh("imagectl", "show", ""), IMAGES)
        self.assertEqual(zsh("imagectl", "cancel", ""), ["7", "12"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
