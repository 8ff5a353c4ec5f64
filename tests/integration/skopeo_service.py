# SPDX-License-Identifier: Apache-2.0
"""imaged-proxy behind a socket, one process a connection, as imaged-proxy.socket has it; for root, as a user who owns nothing. IMAGED_PROXY names the program."""
import os
import shutil
import socket
import subprocess
import tempfile
import threading

PROGRAM = os.environ.get("IMAGED_PROXY", "imaged-proxy")
NOBODY = 65534
copies = {}


class SkopeoService:
    def __init__(self, environment=None, program=PROGRAM):
        """Listens until stop(); ENVIRONMENT goes over this process's own."""
        self.program = program
        self.directory = tempfile.TemporaryDirectory(dir="/var/tmp")
        os.chmod(self.directory.name, 0o755)
        self.path = self.directory.name + "/proxy"
        self.environment = {**os.environ, "HOME": "/nonexistent", **(environment or {})}
        self.processes = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.processes.append(start(connection.fileno(), self.environment, self.program))
            connection.close()

    def running(self):
        return [process for process in self.processes if process.poll() is None]

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)
        for process in self.running():
            process.kill()
        for process in self.processes:
            process.wait(10)
        self.directory.cleanup()


def as_unit(case, program=PROGRAM):
    """The service until the end of CASE, as the unit has it: with any of these set, skopeo reads all layers."""
    service = SkopeoService(program=program)
    case.addCleanup(service.stop)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "HTTP_PROXY", "http_proxy"):
        service.environment.pop(name, None)
    return service


def readable_program(program):
    """A copy of PROGRAM that everybody can run: a checkout may lie in a home directory."""
    if program not in copies:
        copies[program] = tempfile.TemporaryDirectory(dir="/var/tmp")
        os.chmod(copies[program].name, 0o755)
        shutil.copy(program, copies[program].name)
    return os.path.join(copies[program].name, os.path.basename(program))


def start(connection, environment, program=PROGRAM, **options):
    """imaged-proxy with the descriptor CONNECTION as its own 3."""
    user = [shutil.which("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.getuid() == 0 else []
    # The shell, because descriptor 3 may be another one here, in whatever thread this is.
    command = [shutil.which("bash"), "-c", f'exec "$@" 3<&{connection} {connection}<&-' if connection != 3 else 'exec "$@"', "bash", *user, readable_program(program)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, pass_fds=[connection], cwd="/", **options)
