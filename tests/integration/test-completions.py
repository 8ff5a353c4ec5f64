#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The shells' completions of imagectl: verbs and options as its help has them, images and jobs as imaged has them."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
IMAGECTL = os.environ.get("IMAGECTL", "imagectl")
QUOTED = r"""oci:/srv/la'y"out\back:t"""
IMAGES = ["docker://registry.example/a:1", "docker://registry.example/b:2", "oci:/srv/x:y"]
# imagectl, but for what it would have to ask a daemon.
STUB = """#!/bin/sh
case "$*" in
    *--help*) exec {program} "$@" ;;
    '--json list') cat {directory}/list.json ;;
    jobs) printf 'JOB  KIND\\n  7  pull\\n 12  pull\\n' ;;
esac
"""


class Completions(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)
        self.store(*IMAGES)
        with open(self.directory + "/imagectl", "w", encoding="utf-8") as file:
            file.write(STUB.format(program=IMAGECTL, directory=self.directory))
        os.chmod(self.directory + "/imagectl", 0o755)
        self.environment = {**os.environ, "PATH": self.directory + ":" + os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    def run_shell(self, *command):
        run = subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=60)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout.splitlines()

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

    def zsh(self, *words):
        """What zsh offers, which itself leaves out what does not begin as the last word does."""
        return self.run_shell("zsh", "-fc", f"""
            compadd() {{ shift; print -rl -- "${{(@P)1}}"; }}
            _files() {{ :; }}
            words=("$@") CURRENT=$#
            source {SOURCES}/client/completions/_imagectl""", "zsh", *words)

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

    def check_values_and_names(self, shell):
        """SHELL gives what is offered for the words of a line."""
        self.assertEqual(sorted(shell("pull", "--progress", "")), ["auto", "json", "lines", "none"])
        self.assertEqual(shell("pull", "--progress", "j"), ["json"])
        refusal = subprocess.run([IMAGECTL, "pull", "--progress", "x"], capture_output=True, text=True).stderr
        self.assertIn("--progress is auto, lines, json or none", refusal)
        self.assertEqual(sorted(shell("export", "--compression", "")), ["gzip", "none", "zstd", "zstd:chunked"])
        self.assertEqual(sorted(shell("pull", "--delta", "")), ["auto", "never"])
        self.assertEqual(shell("pull", "--target", "oci"), [IMAGES[2]])
        for words in (("rollback", "--to", ""), ("-H", ""), ("list", "--machine", ""), ("pull", "--digest", "")):
            self.assertEqual(shell(*words), [], words)
        # The value of an option is no verb.
        self.assertEqual(shell("-H", "list", "show", "oci"), [IMAGES[2]])
        self.assertEqual(shell("--host=root@list", "show", "oci"), [IMAGES[2]])
        # Options of the verb, and no words of its help that look like one.
        for words in (("--",), ("list", "--")):
            offered = shell(*words)
            self.assertIn("--host", offered)
            self.assertNotIn("--exit-code", offered)
        self.assertIn("--exit-code", shell("check", "--"))
        self.store(QUOTED, "docker://registry.example/d:1")
        self.assertEqual(shell("show", "docker:"), ["docker://registry.example/d:1"])
        return shell("show", "oci")

    def store(self, *images):
        """Makes these the names that imaged has."""
        with open(self.directory + "/list.json", "w", encoding="utf-8") as file:
            json.dump({"schema": 1, "images": [{"image": image, "layers": 1} for image in images]}, file, separators=(",", ":"))

    def test_bash_offers_values_of_options_and_whole_names(self):
        def shell(*words):
            line = " ".join(("imagectl", *words))
            offered = self.bash(line)
            # readline replaces what stands behind the last colon.
            return [words[-1].rpartition(":")[0] + ":" + text if ":" in words[-1] else text for text in offered if text]
        name, = self.check_values_and_names(shell)
        self.assertEqual(self.run_shell("bash", "-c", "printf '%s\n' " + name), [QUOTED])
        self.assertEqual(self.bash("imagectl pull --progress=l"), ["lines"])

    def test_bash_runs_nothing_that_stands_in_a_name(self):
        mark = self.directory + "/ran"
        name = f"docker://registry.example/$(touch${{IFS}}{mark})`touch${{IFS}}{mark}`"
        self.store(name)
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

    @unittest.skipUnless(shutil.which("fish"), "needs fish")
    def test_fish_offers_values_of_options_and_whole_names(self):
        def shell(*words):
            return self.run_shell("fish", "-c", f"source {SOURCES}/client/completions/imagectl.fish; complete -C $argv", " ".join(("imagectl", *words)))
        self.assertEqual(self.check_values_and_names(lambda *words: [text for text in shell(*words) if text]), [QUOTED])
        self.assertEqual(shell("pull", "--progress=l"), ["--progress=lines"])

    @unittest.skipUnless(shutil.which("zsh"), "needs zsh")
    def test_zsh_offers_values_of_options_and_whole_names(self):
        def shell(*words):
            offered = self.zsh("imagectl", *words)
            return [text for text in offered if text.startswith(words[-1])]
        self.assertEqual(self.check_values_and_names(shell), [QUOTED])
        self.assertEqual(shell("pull", "--progress=l"), ["--progress=lines"])

    @unittest.skipUnless(shutil.which("zsh"), "needs zsh")
    def test_zsh_offers_verbs_options_images_and_jobs(self):
        self.assertEqual(set(self.zsh("imagectl", "")), self.verbs())
        self.assertIn("--authfile", self.zsh("imagectl", "pull", "--"))
        self.assertEqual(self.zsh("imagectl", "show", ""), IMAGES)
        self.assertEqual(self.zsh("imagectl", "cancel", ""), ["7", "12"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
