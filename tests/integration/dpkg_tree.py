# SPDX-License-Identifier: Apache-2.0
"""Trees with a dpkg database, made by dpkg itself from packages that dpkg-deb makes."""
import subprocess

DPKG = ("dpkg", "--force-not-root", "--force-bad-path", "--force-depends", "--force-script-chrootless")


def package(directory, name, version, architecture="all", conffile=None, multi_arch=None):
    """The path of the package; it owns a file of /etc if CONFFILE names one."""
    tree = directory / f"{name}-{architecture}-{version}".replace(":", "_")
    (tree / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: x <x@example.org>\n"
    (tree / "DEBIAN/control").write_text(control + (f"Multi-Arch: {multi_arch}\n" if multi_arch else "") + "Description: x\n several lines\n .\n Version: 99\n")
    if conffile:
        (tree / "etc").mkdir()
        (tree / "etc" / conffile).write_text(f"{name} {version}\n")
        (tree / "DEBIAN/conffiles").write_text(f"/etc/{conffile}\n")
    path = tree.with_name(tree.name + ".deb")
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, path], check=True, capture_output=True)
    return path


def dpkg(root, *arguments):
    admin = root / "var/lib/dpkg"
    for part in ("info", "updates", "triggers"):
        (admin / part).mkdir(parents=True, exist_ok=True)
    for name in ("status", "available"):
        (admin / name).touch()
    subprocess.run([*DPKG, f"--root={root}", f"--log={root}/log", *arguments], check=True, capture_output=True)


def installed(admin):
    """What dpkg-query says is installed: name, architecture and version of each package."""
    lines = subprocess.run(["dpkg-query", f"--admindir={admin}", "-W", "-f", "${db:Status-Status}|${Package}|${Architecture}|${Version}\n"], check=True,
                           capture_output=True, text=True).stdout
    return sorted(tuple(line.split("|")[1:]) for line in lines.splitlines() if line.split("|")[0] not in ("not-installed", "config-files"))
