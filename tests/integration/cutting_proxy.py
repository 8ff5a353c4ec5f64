# SPDX-License-Identifier: Apache-2.0
"""Hands on what comes by TCP, and cuts a connection."""
import socket
import struct
import threading


class CuttingProxy:
    """Hands on what comes by TCP. The first connection that has brought more than LIMIT bytes from the registry is cut there, gently or with a reset; `bytes` counts what
    was handed on."""

    def __init__(self, upstream, limit, reset):
        self.upstream, self.limit, self.reset, self.bytes, self.cuts = upstream, limit, reset, 0, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            host, port = self.upstream.split(":")
            server = socket.create_connection((host, int(port)))
            threading.Thread(target=self.copy, args=(client, server), daemon=True).start()
            threading.Thread(target=self.answer, args=(server, client), daemon=True).start()

    @staticmethod
    def copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def answer(self, server, client):
        sent = 0
        try:
            while data := server.recv(65536):
                if not self.cuts and sent + len(data) > self.limit:
                    self.cuts += 1
                    if self.reset:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        client.close()
                    break
                client.sendall(data)
                sent += len(data)
                self.bytes += len(data)
            client.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        server.close()
        client.close()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
