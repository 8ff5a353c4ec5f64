# SPDX-License-Identifier: Apache-2.0
"""RPM databases, made by rpm itself from packages without files that rpmbuild makes."""
import shutil
import subprocess

# An option of Debian 12's, without which it installs nothing; later ones do not have it.
FORCE_DEBIAN = ["--force-debian"] if shutil.which("rpm") and subprocess.run(["rpm", "--force-debian", "--version"], capture_output=True).returncode == 0 else []
TOOLS = all(shutil.which(tool) for tool in ("rpm", "rpmbuild"))
SPEC = """Name: {name}
Version: {version}
Release: {release}
{epoch}Summary: A package
License: MIT
{noarch}
%description
A package.
%files
"""


def package(directory, name, version, release="1", epoch=None, noarch=True):
    """The path of the package."""
    directory.mkdir(parents=True, exist_ok=True)
    spec = directory / f"{name}.spec"
    spec.write_text(SPEC.format(name=name, version=version, release=release, epoch="" if epoch is None else f"Epoch: {epoch}\n",
                                noarch="BuildArch: noarch" if noarch else ""))
    output = directory / f"{name}-{version}-{release}"
    subprocess.run(["rpmbuild", "--quiet", "-bb", "--define", f"_topdir {output}", spec], check=True, capture_output=True)
    path, = output.glob("RPMS/*/*.rpm")
    return path


def database(directory, *packages):
    """A directory with the database of PACKAGES."""
    directory.mkdir()
    subprocess.run(["rpm", f"--dbpath={directory}", "--define", "_db_backend sqlite", "--initdb"], check=True)
    if packages:
        # Several versions of one package stay beside each other.
        subprocess.run(["rpm", *FORCE_DEBIAN, f"--dbpath={directory}", "--define", "_db_backend sqlite", "-i", "--justdb", "--nodeps", "--force", *packages],
                       check=True, capture_output=True)
    return directory


def installed(directory):
    """What rpm -qa says: name, architecture and version of each package."""
    lines = subprocess.run(["rpm", f"--dbpath={directory}", "-qa", "--qf", "%{NAME}|%|ARCH?{%{ARCH}}:{}||%{EVR}\n"], check=True, capture_output=True, text=True).stdout
    return sorted(tuple(line.split("|")) for line in lines.splitlines())
