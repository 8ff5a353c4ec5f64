# SPDX-License-Identifier: Apache-2.0
"""A registry that goes wrong: stands in front of a right one and spoils what `fault` says, or nothing."""
import http.client
import http.server
import json
import re
import socket
import ssl
import struct
import threading

HANG = 600


class FaultyRegistry:
    """fault: (regular expression of a path, function, how often or None for always). `requests` lists the paths that came, `logins` what came with them as Authorization, and from which program. By TLS if CERTIFICATES is a directory that has some
    (registry.make_certificates()); `certified` lists for each path whether a client showed a certificate, and which program it was."""

    def __init__(self, upstream, certificates=None):
        self.upstream, self.fault, self.requests, self.logins, self.certified = upstream, None, [], [], []
        self.ended = threading.Event()
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                registry.requests.append(self.path)
                registry.logins.append((self.path, self.headers.get("Authorization"), self.headers.get("User-Agent", "")))
                if certificates:
                    registry.certified.append((self.path, bool(self.connection.getpeercert()), self.headers.get("User-Agent", "")))
                fault = registry.take(self.path)
                host, port = registry.upstream.split(":")
                connection = http.client.HTTPConnection(host, int(port), timeout=30)
                connection.putrequest(self.command, self.path, skip_accept_encoding=True)
                for key, value in self.headers.items():  # some of them several times
                    if key.lower() != "host":
                        connection.putheader(key, value)
                connection.endheaders()
                response = connection.getresponse()
                left_out = ("content-length", "transfer-encoding", "connection")
                self.answer = response.status, [(key, value) for key, value in response.getheaders() if key.lower() not in left_out], response.read()
                connection.close()
                (fault or send)(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass  # that a client has had enough is what some faults are for

        self.server = Server(("127.0.0.1", 0), Handler)
        if certificates:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=f"{certificates}/ca.crt")
            context.load_cert_chain(f"{certificates}/server.cert", f"{certificates}/server.key")
            context.verify_mode = ssl.CERT_OPTIONAL
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.server.daemon_threads = True
        self.server.registry = self
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def take(self, path):
        if self.fault is None or not re.search(self.fault[0], path):
            return None
        pattern, function, times = self.fault
        if times is not None:
            self.fault = (pattern, function, times - 1) if times > 1 else None
        return function

    def stop(self):
        self.ended.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def head(handler, status, headers, length):
    handler.send_response(status)
    for key, value in headers:
        handler.send_header(key, value)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()


def send(handler, body=None, length=None):
    status, headers, data = handler.answer
    data = data if body is None else body
    head(handler, status, headers, len(data) if length is None else length)
    if handler.command != "HEAD":
        handler.wfile.write(data)


# What registries say to these.
REASONS = {401: ("UNAUTHORIZED", "authentication required"), 403: ("DENIED", "requested access to the resource is denied"), 404: ("MANIFEST_UNKNOWN", "manifest unknown"),
           429: ("TOOMANYREQUESTS", "too many requests")}


def status(code, body=None, **headers):
    reason = dict(zip(("code", "message"), REASONS.get(code, ("UNKNOWN", "unknown error"))))
    text = json.dumps({"errors": [reason]}).encode() if body is None else body

    def fault(handler):
        kind = "application/json" if body is None else "text/plain"
        head(handler, code, [("Content-Type", kind), *((key.replace("_", "-"), value) for key, value in headers.items())], len(text))
        if handler.command != "HEAD":
            handler.wfile.write(text)
    return fault


def wait(handler, seconds=HANG):
    handler.server.registry.ended.wait(seconds)


def silent(handler):
    wait(handler)
    handler.close_connection = True


def ranges_asked(handler):
    """What a request asks for of a blob: (offset, end) of each range."""
    wanted = handler.headers.get("Range")
    return [(int(first), int(last) + 1) for first, last in (one.split("-") for one in wanted.removeprefix("bytes=").split(","))] if wanted else []


def several(data, ranges, boundary=b"boundary", size=None):
    """The body of an answer with RANGES of DATA."""
    size = len(data) if size is None else size
    return b"".join(b"--%s\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes %d-%d/%d\r\n\r\n%s\r\n" % (boundary, offset, end - 1, size, data[offset:end])
                    for offset, end in ranges) + b"--%s--\r\n" % boundary


def stalled(handler):
    _, headers, data = handler.answer
    head(handler, 200, headers, len(data))
    handler.wfile.write(data[:len(data) // 2])
    handler.wfile.flush()
    wait(handler)
    handler.close_connection = True


def dripping(handler):
    _, headers, data = handler.answer
    head(handler, 200, headers, len(data))
    for number in range(len(data)):
        handler.wfile.write(data[number:number + 1])
        handler.wfile.flush()
        wait(handler, 0.3)


def reset(handler):
    _, headers, data = handler.answer
    head(handler, 200, headers, len(data))
    handler.wfile.write(data[:len(data) // 2])
    handler.wfile.flush()
    # Closing with this set sends a reset.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def truncated(handler):
    _, headers, data = handler.answer
    head(handler, 200, headers, len(data))
    handler.wfile.write(data[:len(data) // 2])
    handler.close_connection = True


def shorter(handler):
    send(handler, handler.answer[2][:-10])


def longer(handler):
    send(handler, handler.answer[2] + b"more" * 10)


def other(handler):
    send(handler, bytes(byte ^ 1 for byte in handler.answer[2]))


def not_http(handler):
    handler.wfile.write(b"nonsense\r\n\r\n")
    handler.close_connection = True


def redirected_for_ever(handler):
    head(handler, 307, [("Location", handler.path)], 0)


def cut_off(handler):
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
