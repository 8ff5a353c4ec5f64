#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Layers of a registry, read by the service without skopeo: the same commits, logins that nobody else gets, connections that break, and registries that lie."""
import base64
import email.utils
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse

import faulty_registry as faults
import oci_layout
import ostree_repository
import registry
import sanitizers
import skopeo_service
import worker
from cutting_proxy import CuttingProxy
from oci_layout import Entry
from registry import free_port

OWN, SKOPEO = "imaged/", "containers/"
LARGE = 24 * 1024 * 1024
# user:secret
HTPASSWD = "user:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
LOGIN = base64.b64encode(b"user:secret").decode()
BLOBS = "/blobs/"


def program(agent):
    return OWN if agent.startswith(OWN) else SKOPEO


class Server:
    """An HTTP server of a test: HANDLER serves GET."""

    def __init__(self, handle):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                handle(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass
        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class TokenServer(Server):
    """Gives tokens that docker-registry takes, signed with a key in DIRECTORY, to user:secret. `asked` lists what it was asked for: (query, Authorization)."""

    def __init__(self, directory):
        self.directory, self.asked = directory, []
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "token.key", "-out", "token.crt", "-subj", "/CN=tokens", "-days", "2"],
                       cwd=directory, check=True, capture_output=True)
        super().__init__(self.handle)
        self.configuration = (f"auth: {{token: {{realm: \"http://{self.address}/token\", service: tests, issuer: tests, rootcertbundle: {directory}/token.crt}}}}\n")

    def handle(self, handler):
        query = urllib.parse.parse_qs(urllib.parse.urlparse(handler.path).query)
        login = handler.headers.get("Authorization")
        self.asked.append((query, login))
        if login != "Basic " + LOGIN:
            return faults.head(handler, 401, [], 0)
        text = json.dumps({"token": self.token(query)}).encode()
        faults.head(handler, 200, [("Content-Type", "application/json")], len(text))
        handler.wfile.write(text)

    def token(self, query):
        def encoded(data):
            return base64.urlsafe_b64encode(data).rstrip(b"=")
        certificate = subprocess.run(["openssl", "x509", "-in", "token.crt", "-outform", "DER"], cwd=self.directory, check=True, capture_output=True).stdout
        kind, name, actions = query["scope"][0].split(":")
        now = int(time.time())
        signed = b".".join(encoded(json.dumps(part).encode()) for part in (
            {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(certificate).decode()]},
            {"iss": "tests", "sub": "user", "aud": "tests", "exp": now + 300, "nbf": now - 10, "iat": now, "jti": str(len(self.asked)),
             "access": [{"type": kind, "name": name, "actions": actions.split(",")}]}))
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", "token.key"], cwd=self.directory, input=signed, check=True, capture_output=True).stdout
        return (signed + b"." + encoded(signature)).decode()


class Case(unittest.TestCase):
    """A registry with an image of a large layer, one of 2 MiB, and one that is too small for another process to be worth it."""

    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(dir="/var/tmp")
        cls.addClassCleanup(scratch.cleanup)
        cls.directory = pathlib.Path(scratch.name)
        cls.directory.chmod(0o755)
        cls.layout = oci_layout.Layout(cls.directory / "layout")
        cls.layers = [oci_layout.layer([Entry("opt/large", content=os.urandom(LARGE))]), oci_layout.layer([Entry("opt/file", content=os.urandom(2 << 20))], "zstd"),
                      oci_layout.layer([Entry("opt/small", content=b"small")])]
        cls.layout.image("t", cls.layers)
        cls.registry = registry.Registry(cls.directory / "registry")
        cls.addClassCleanup(cls.registry.stop)
        cls.digest = cls.registry.push(cls.layout.reference("t"), "test/image:t")
        cls.policy = cls.directory / "policy.json"
        cls.policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        cls.number = 0
        cls.expected = cls.pull_once("ostree-unverified-image:" + cls.layout.reference("t"), service=None)["details"]["merge-commit"]

    @classmethod
    def pull_once(cls, image, service, conf="", stall=10000, authfile=None, **options):
        cls.number += 1
        cls.repository = cls.directory / f"repo{cls.number}"
        ostree_repository.init(cls.repository, "bare-user")
        configuration = cls.directory / f"registries{cls.number}.conf"
        configuration.write_text(conf)
        environment = {"CONTAINERS_REGISTRIES_CONF": str(configuration), "CONTAINERS_POLICY": str(cls.policy)}
        settings = {"skopeo-service": service, "stall-milliseconds": stall, **options.pop("settings", {})}
        with tempfile.TemporaryFile() as login:
            login.write(json.dumps(authfile).encode())
            login.flush()
            return worker.Run(image, cls.repository, settings=settings, env=environment, target="docker://stored/image:t",
                              authfile=None if authfile is None else login, **options).finish().result

    def setUp(self):
        self.service = skopeo_service.as_unit(self)
        self.conf = ""
        self.settings = {}
        self.authfile = None

    def allow(self, *addresses):
        self.conf = "".join(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n' for address in addresses)

    def pull(self, address, **options):
        started = time.monotonic()
        result = self.pull_once(f"docker://{address}/test/image:t", self.service.path, self.conf, authfile=self.authfile, **options)
        self.seconds = time.monotonic() - started
        return result

    def assert_pulled(self, address, **options):
        result = self.pull(address, **options)
        self.assertEqual(result["outcome"], "success", result)
        self.assertEqual((result["details"]["digest"], result["details"]["merge-commit"]), (self.digest, self.expected))
        return result["details"]

    def assert_failed(self, address, *errors, **options):
        result = self.pull(address, **options)
        self.assertIn(result.get("error-name"), errors, result)
        self.assertNotIn("ostree/container/image/", "\n".join(ostree_repository.refs(self.repository)))
        return result["message"]

    def readers(self, served=None, since=0):
        """Layer → programs that have read it."""
        found = {}
        for path, status, _, agent in (served or self.registry).answers()[since:]:
            for layer in self.layers:
                if path.endswith(layer.digest) and status in (200, 206):
                    found.setdefault(self.layers.index(layer), set()).add(program(agent))
        return found

    def read_here(self):
        """The layers that are not left to skopeo."""
        return "|".join(layer.digest for layer in self.layers[:2])

    @staticmethod
    def own_fault(front, where, fault):
        """FAULT for what does not come from skopeo."""
        front.fault = (where, lambda handler: (fault if handler.headers.get("User-Agent", "").startswith(OWN) else faults.send)(handler), None)

    def front(self):
        front = faults.FaultyRegistry(self.registry.address)
        self.addCleanup(front.stop)
        self.allow(front.address)
        return front


class Reading(Case):
    def test_large_layers_are_read_past_skopeo_and_small_ones_by_it(self):
        self.allow(self.registry.address)
        before = len(self.registry.answers())
        details = self.assert_pulled(self.registry.address)
        self.assertEqual(details["bytes-fetched"], sum(len(layer.data) for layer in self.layers))
        self.assertEqual(self.readers(since=before), {0: {OWN}, 1: {OWN}, 2: {SKOPEO}})
        # One process for both.
        self.assertEqual(len(self.service.processes), 2)

    @unittest.skipUnless(os.getuid() == 0, "needs root to make a mount namespace")
    def test_a_confined_worker_has_them_read_too(self):
        self.allow(self.registry.address)
        before = len(self.registry.answers())
        self.assert_pulled(self.registry.address, settings={"confined": True})
        self.assertEqual(self.readers(since=before), {0: {OWN}, 1: {OWN}, 2: {SKOPEO}})

    def test_what_is_not_understood_is_left_to_skopeo(self):
        address = self.registry.address
        self.allow(address)
        for name, text in (("home/.docker/config.json", "{}"), ("bin/docker-credential-x-imaged-test", '#!/bin/sh\necho \'{"ServerURL":"x","Username":"user","Secret":"x"}\'\n')):
            (self.directory / name).parent.mkdir(parents=True, exist_ok=True)
            (self.directory / name).write_text(text)
            (self.directory / name).chmod(0o755)
        for what, conf, authfile, environment in (
                ("a key of registries.conf", self.conf + "unknown = 1\n", None, {}), ("helpers", 'credential-helpers = ["x-imaged-test"]\n' + self.conf, None, {"PATH": f"{self.directory}/bin:{os.environ['PATH']}"}),
                ("logins of the user", self.conf, None, {"HOME": str(self.directory / "home")})):
            with self.subTest(what):
                self.service.environment.update(environment)
                self.conf, self.authfile = conf, authfile
                before = len(self.registry.answers())
                self.assert_pulled(address)
                self.assertEqual(self.readers(since=before), {number: {SKOPEO} for number in range(3)})

    def test_the_service_ends_with_the_job(self):
        self.allow(self.registry.address)
        self.assert_pulled(self.registry.address)
        end = time.monotonic() + 10 * sanitizers.SLOWER
        while self.service.running() and time.monotonic() < end:
            time.sleep(0.02)
        self.assertEqual([process.wait() for process in self.service.processes if process.poll() is not None], [0, 0])


class Mirrors(Case):
    def mirrored(self, *mirrors, location=None):
        location = location or self.registry.address
        self.conf = f'[[registry]]\nprefix = "registry.example"\nlocation = "{location}"\ninsecure = true\n' + "".join(
            f'[[registry.mirror]]\nlocation = "{mirror}"\ninsecure = true\n' for mirror in mirrors)

    def test_the_first_that_has_a_blob_serves_it(self):
        empty = registry.Registry(self.directory / f"empty{self.number}")
        self.addCleanup(empty.stop)
        nobody = f"127.0.0.1:{free_port()}"
        for mirrors in ((), (nobody,), (empty.address,), (nobody, empty.address)):
            with self.subTest(mirrors):
                self.mirrored(*mirrors)
                before = len(self.registry.answers())
                self.assert_pulled("registry.example")
                self.assertEqual(self.readers(since=before), {0: {OWN}, 1: {OWN}, 2: {SKOPEO}})

    def test_a_mirror_is_asked_before_its_registry(self):
        mirror = registry.Registry(self.directory / "mirror", storage=self.directory / "registry/storage")
        self.addCleanup(mirror.stop)
        self.mirrored(mirror.address)
        before = len(self.registry.answers())
        self.assert_pulled("registry.example")
        self.assertEqual((self.readers(mirror), self.readers(since=before)), ({0: {OWN}, 1: {OWN}, 2: {SKOPEO}}, {}))

    def test_a_mirror_that_is_blocked_itself_is_asked_by_nobody(self):
        front, before = self.front(), len(self.registry.answers())
        self.mirrored(front.address)
        self.conf += f'[[registry]]\nlocation = "{front.address}"\nblocked = true\n'
        self.assert_pulled("registry.example")
        self.assertEqual(front.requests, [])
        self.assertEqual(self.readers(since=before), {0: {OWN}, 1: {OWN}, 2: {SKOPEO}})

    def test_a_mirror_gets_no_login_of_its_registry(self):
        front, before = self.front(), len(self.registry.answers())
        self.mirrored(front.address)
        self.authfile = {"auths": {"registry.example": {"auth": LOGIN}, self.registry.address: {"auth": LOGIN}}}
        self.own_fault(front, BLOBS, lambda handler: faults.head(handler, 401, [("WWW-Authenticate", 'Basic realm="mirror"')], 0))
        self.assert_pulled("registry.example")
        self.assertTrue([path for path in front.requests if BLOBS in path])
        self.assertEqual({login for _, login, _ in front.logins}, {None})
        self.assertEqual(self.readers(since=before)[0], {OWN})


class Logins(Case):
    def registry_with(self, configuration, certificates=None):
        served = registry.Registry(self.directory / f"login{self.number}", certificates, self.directory / "registry/storage", configuration)
        self.addCleanup(served.stop)
        self.allow(served.address)
        return served

    def tokens(self):
        server = TokenServer(self.directory)
        self.addCleanup(server.stop)
        return server, self.registry_with(server.configuration)

    def test_tokens(self):
        server, served = self.tokens()
        self.authfile = {"auths": {served.address + "/test": {"auth": LOGIN}}}
        self.assert_pulled(served.address)
        self.assertEqual(self.readers(served), {0: {OWN}, 1: {OWN}, 2: {SKOPEO}})
        query = server.asked[-1][0]
        self.assertEqual((query["service"], query["scope"], query["account"]), (["tests"], ["repository:test/image:pull"], ["user"]))

    def test_a_login_is_for_its_registry_and_namespace_only(self):
        server, served = self.tokens()
        for key in ("other.example", served.address + "/other"):
            self.authfile = {"auths": {key: {"auth": LOGIN}}}
            self.assert_failed(served.address, "SourceDenied")
        self.assertEqual({login for _, login in server.asked}, {None})

    def test_a_token_that_is_not_taken_any_more_is_replaced(self):
        server, served = self.tokens()
        front = faults.FaultyRegistry(served.address)
        self.addCleanup(front.stop)
        self.allow(front.address)
        self.authfile = {"auths": {front.address: {"auth": LOGIN}}}
        steps = []

        def expires(handler):
            # The connection breaks, and when the rest is asked for the token is too old.
            if not (handler.headers.get("Authorization") or "").startswith("Bearer"):
                return faults.send(handler)
            steps.append(handler.headers["Authorization"])
            if len(steps) == 1:
                return faults.truncated(handler)
            if len(steps) > 2:
                return faults.send(handler)
            challenge = f'Bearer realm="http://{server.address}/token",service="tests",scope="repository:test/image:pull",error="invalid_token"'
            faults.head(handler, 401, [("WWW-Authenticate", challenge)], 0)
        self.own_fault(front, self.layers[0].digest, expires)
        self.assert_pulled(front.address)
        self.assertEqual((len(steps), len(set(steps))), (3, 2))
        self.assertEqual(self.readers(served), {0: {OWN}, 1: {OWN}, 2: {SKOPEO}})

    def test_basic(self):
        (self.directory / "htpasswd").write_text(HTPASSWD)
        served = self.registry_with(f"auth: {{htpasswd: {{realm: tests, path: {self.directory}/htpasswd}}}}\n")
        self.authfile = {"auths": {served.address: {"auth": LOGIN}}}
        self.assert_pulled(served.address)
        self.assertEqual(self.readers(served), {0: {OWN}, 1: {OWN}, 2: {SKOPEO}})
        self.authfile = {"auths": {served.address: {"auth": base64.b64encode(b"user:wrong").decode()}}}
        self.assert_failed(served.address, "SourceDenied")

    def test_who_a_registry_redirects_to_gets_no_login(self):
        server, served = self.tokens()
        before = len(self.registry.answers())
        front, elsewhere = faults.FaultyRegistry(served.address), faults.FaultyRegistry(self.registry.address)
        for one in (front, elsewhere):
            self.addCleanup(one.stop)
        self.allow(front.address)
        self.authfile = {"auths": {front.address: {"auth": LOGIN}, elsewhere.address: {"auth": LOGIN}}}
        front.fault = (BLOBS, lambda handler: faults.head(handler, handler.answer[0] if handler.answer[0] == 401 else 307,
                                                          handler.answer[1] if handler.answer[0] == 401 else [("Location", f"http://{elsewhere.address}{handler.path}")], 0), None)
        self.assert_pulled(front.address)
        asked = [(login, agent) for path, login, agent in elsewhere.logins if BLOBS in path]
        self.assertGreaterEqual(len(asked), 3)
        # To skopeo 1.18 another port of the same host is the same host.
        self.assertEqual({login for login, agent in asked if agent.startswith(OWN) or worker.SKOPEO_VERSION < (1, 10)}, {None})
        self.assertTrue(any(login for path, login, _ in front.logins if BLOBS in path))
        self.assertEqual({path: agents for path, agents in self.readers(since=before).items() if path < 2}, {0: {OWN}, 1: {OWN}})

    @unittest.skipUnless(os.getuid() == 0, "writes to /etc/containers/certs.d")
    def test_tls_with_a_certificate_of_its_own(self):
        certificates = self.certificates()
        served = self.registry_with("", certificates)
        self.conf = ""
        self.assert_failed(served.address, "SourceUnreachable")
        self.allow(served.address)
        self.assert_pulled(served.address)  # insecure: nobody looks at the certificate
        self.conf = ""
        self.trust(served, certificates)
        before = len(served.answers())
        self.assert_pulled(served.address)
        self.assertEqual(self.readers(served, before), {0: {OWN}, 1: {OWN}, 2: {SKOPEO}})

    def certificates(self):
        directory = self.directory / f"certificates{self.number}"
        directory.mkdir()
        registry.make_certificates(directory)
        return directory

    def trust(self, served, certificates, *names):
        place = pathlib.Path("/etc/containers/certs.d", served.address)
        place.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, place)
        for name in ("ca.crt", *names):
            shutil.copy(certificates / name, place)
            (place / name).chmod(0o644)

    def tls_front(self, certificates, *names):
        front = faults.FaultyRegistry(self.registry.address, certificates)
        self.addCleanup(front.stop)
        self.trust(front, certificates, *names)
        return front

    @unittest.skipUnless(os.getuid() == 0, "writes to /etc/containers/certs.d")
    def test_from_tls_nothing_leads_to_plain_http(self):
        front, elsewhere = self.tls_front(self.certificates()), faults.FaultyRegistry(self.registry.address)
        self.addCleanup(elsewhere.stop)
        asked = []
        tokens = Server(lambda handler: [asked.append(handler.headers.get("User-Agent", "")), faults.head(handler, 401, [], 0)])
        self.addCleanup(tokens.stop)
        self.authfile = {"auths": {front.address: {"auth": LOGIN}}}
        for what, status, header, told in (("a redirect", 307, ("Location", f"http://{elsewhere.address}/x"), f"redirects from TLS to plain HTTP, http://{elsewhere.address}"),
                                           ("a token server", 401, ("WWW-Authenticate", f'Bearer realm="http://{tokens.address}/"'), f"its token server has not: http://{tokens.address}")):
            with self.subTest(what):
                # skopeo would follow, and some show the login.
                front.fault = (self.layers[0].digest, lambda handler, status=status, header=header: faults.head(handler, status, [header], 0), None)
                front.certified.clear()
                self.assertIn(told, self.assert_failed(front.address, "SourceDenied"))
                self.assertEqual({program(agent) for path, _, agent in front.certified if self.layers[0].digest in path}, {OWN})
        self.assertEqual((elsewhere.requests, asked), ([], []))

    @unittest.skipUnless(os.getuid() == 0, "writes to /etc/containers/certs.d")
    def test_the_client_certificate_is_shown_to_its_host_and_for_jobs_with_the_logins_of_the_host(self):
        certificates = self.certificates()
        front = self.tls_front(certificates, "client.cert", "client.key")
        elsewhere = self.tls_front(certificates)

        def shown(served):
            found = {certified for path, certified, agent in served.certified if BLOBS in path and agent.startswith(OWN)}
            served.certified.clear()
            return found
        for of_host in (True, False):
            with self.subTest(of_host):
                # For others skopeo gets the directory of the registry that the worker names.
                self.assert_pulled(front.address, settings={"host-credentials": of_host})
                self.assertEqual(shown(front), {of_host})
        self.own_fault(front, BLOBS, lambda handler: faults.head(handler, 307, [("Location", f"https://{elsewhere.address}{handler.path}")], 0))
        before = len(self.registry.answers())
        self.assert_pulled(front.address)
        self.assertEqual((shown(front), shown(elsewhere)), ({True}, {False}))
        self.assertEqual(self.readers(since=before), {0: {OWN}, 1: {OWN}, 2: {SKOPEO}})

    @unittest.skipUnless(os.getuid() == 0, "writes to /etc/containers/certs.d")
    def test_the_storage_behind_a_registry_is_trusted_as_the_registry_is_and_shown_nothing(self):
        certificates = self.certificates()
        front, elsewhere = self.tls_front(certificates, "client.cert", "client.key"), faults.FaultyRegistry(self.registry.address, certificates)
        self.addCleanup(elsewhere.stop)
        self.authfile = {"auths": {front.address: {"auth": LOGIN}}}
        front.fault = (self.layers[0].digest, lambda handler: faults.head(handler, 307, [("Location", f"https://{elsewhere.address}{handler.path}")], 0), None)
        self.assert_pulled(front.address)
        self.assertEqual({(certified, program(agent)) for _, certified, agent in elsewhere.certified}, {(False, OWN)})
        self.assertEqual({login for _, login, _ in elsewhere.logins}, {None})

    def test_who_a_registry_redirects_to_and_gives_nothing_is_not_left_to_skopeo_with_a_login(self):
        front, elsewhere = self.front(), faults.FaultyRegistry(self.registry.address)
        self.addCleanup(elsewhere.stop)
        front.fault = (self.read_here(), lambda handler: faults.head(handler, 307, [("Location", f"http://{elsewhere.address}{handler.path}")], 0), None)
        for fault, error in ((faults.status(403), "SourceDenied"), (faults.cut_off, "SourceUnreachable")):
            self.own_fault(elsewhere, BLOBS, fault)
            for login in (False, True):
                with self.subTest(error, login=login):
                    self.authfile = {"auths": {front.address: {"auth": LOGIN}}} if login else None
                    elsewhere.logins.clear()
                    if login:
                        self.assertIn(f"could show a login or a certificate to {elsewhere.address}", self.assert_failed(front.address, error, stall=4000))
                    else:
                        self.assert_pulled(front.address, stall=4000)
                    self.assertEqual({program(agent) for _, _, agent in elsewhere.logins}, {OWN} if login else {OWN, SKOPEO})

    def test_addresses_that_no_redirect_may_lead_to_are_named(self):
        front = self.front()
        self.authfile = {"auths": {front.address: {"auth": LOGIN}}}
        for address, told in (("http://eve:hidden@127.0.0.1:1/x", "redirects to an address with a user or a password in it, of 127.0.0.1, which is not followed"), ("file:///hidden", "redirects to an address of the kind file:, which is not followed")):
            with self.subTest(address):
                front.fault = (self.read_here(), lambda handler, address=address: faults.head(handler, 307, [("Location", address)], 0), None)
                message = self.assert_failed(front.address, "Failed")
                self.assertIn(told, message)
                self.assertIn("to that address", message)
                self.assertNotIn("hidden", message)

    def test_a_token_server_that_redirects_hands_on_no_login(self):
        front, asked = self.front(), []

        def token(handler):
            asked.append((handler.path, handler.headers.get("Authorization"), handler.headers.get("User-Agent", "")))
            faults.head(handler, 307, [("Location", "/other"), ("Content-Type", "text/plain")], 0)
        tokens = Server(token)
        self.addCleanup(tokens.stop)
        self.authfile = {"auths": {front.address: {"auth": LOGIN}}}
        self.own_fault(front, BLOBS, lambda handler: faults.head(handler, 401, [("WWW-Authenticate", f'Bearer realm="http://{tokens.address}/token"')], 0))
        self.assert_pulled(front.address)
        self.assertEqual({(path.split("?")[0], login) for path, login, agent in asked if agent.startswith(OWN)}, {("/token", "Basic " + LOGIN)})


def pieces(size, asked):
    """A server that ends each connection after SIZE bytes of the answer, and adds to ASKED for each request."""
    def piece(handler):
        status, headers, data = handler.answer
        asked.append(1)
        faults.head(handler, status, headers, len(data))
        handler.wfile.write(data[:size])
        handler.close_connection = True
    return piece


class Breaks(Case):
    def cut(self, reset, limit):
        proxy = CuttingProxy(self.registry.address, limit, reset)
        self.addCleanup(proxy.stop)
        self.allow(proxy.address)
        self.assert_pulled(proxy.address)
        self.assertEqual(proxy.cuts, 1)
        return proxy.bytes

    def test_a_cut_at_95_percent_costs_little(self):
        whole = sum(len(layer.data) for layer in self.layers)
        for reset in (False, True):
            with self.subTest(reset=reset):
                got = self.cut(reset, LARGE * 95 // 100)
                print(f"    {got - whole} bytes more than the layers have, heads, manifest and config included")
                self.assertLess(got - whole, 1 << 20)

    def test_a_stall_is_left_behind(self):
        front = self.front()
        front.fault = (self.layers[0].digest, faults.stalled, 1)
        self.assert_pulled(front.address, stall=4000)
        ranges = [path for path in front.requests if self.layers[0].digest in path]
        self.assertEqual(len(ranges), 2)

    def test_a_registry_without_ranges_sends_all_of_it_again(self):
        front = self.front()

        def whole(handler):
            # As if no range had been asked for.
            data = self.layers[0].data
            handler.answer = (200, [("Content-Type", "application/octet-stream")], data)
            faults.send(handler)

        def cut_then_whole(handler):
            front.fault = (self.layers[0].digest, whole, None)
            faults.truncated(handler)
        front.fault = (self.layers[0].digest, cut_then_whole, None)
        self.assert_pulled(front.address)
        self.assertEqual(len([path for path in front.requests if self.layers[0].digest in path]), 2)

    def test_wrong_answers_in_the_middle_are_never_taken(self):
        front = self.front()
        large = self.layers[0]
        half = len(large.data) // 2

        def again(headers, data, status=206):
            def fault(handler):
                faults.head(handler, status, headers, len(data))
                handler.wfile.write(data)
            return fault

        def then(fault):
            def first(handler):
                front.fault = (large.digest, fault, None)
                faults.truncated(handler)
            return first
        size = len(large.data)
        right = large.data[half:]
        for what, fault, errors in (
                ("another part", again([("Content-Range", f"bytes {half - 10}-{size - 1}/{size}")], large.data[half - 10:]), ("SourceUnreachable",)),
                ("a part of something larger", again([("Content-Range", f"bytes {half}-{size - 1}/{size + 1}")], right), ("SourceUnreachable",)),
                ("less than was asked for", again([("Content-Range", f"bytes {half}-{size - 2}/{size}")], right[:-1]), ("SourceUnreachable",)),
                ("no word which part", again([], right), ("SourceUnreachable",)),
                ("many parts", again([("Content-Type", "multipart/byteranges; boundary=x")], right), ("SourceUnreachable",)),
                ("another content", again([("Content-Range", f"bytes {half}-{size - 1}/{size}"), ("ETag", '"other"')], bytes(len(right))), ("SourceUnreachable", "DigestMismatch")),
                ("another content without a word", again([("Content-Range", f"bytes {half}-{size - 1}/{size}")], bytes(len(right))), ("DigestMismatch",)),
                ("another whole", again([], bytes(size), 200), ("DigestMismatch",)),
                ("a whole of another size", again([], bytes(size + 1), 200), ("SourceUnreachable",))):
            with self.subTest(what):
                front.fault = (large.digest, then(fault), None)
                self.assert_failed(front.address, *errors)
        front.fault = (large.digest, then(again([("Content-Range", f"bytes {half}-{size - 1}/{size}")], right)), None)
        self.assert_pulled(front.address)

    def fetched(self, *again):
        """What a pull fetches in all, with the bytes AGAIN that came twice."""
        return sum(len(layer.data) for layer in self.layers) + sum(again)

    def test_a_registry_that_is_away_is_waited_for_in_the_middle(self):
        for what, away in (("resets", faults.cut_off), ("502", faults.status(502)), ("503", faults.status(503)), ("429", faults.status(429))):
            with self.subTest(what):
                front, back = self.front(), []

                def leave(handler, back=back, front=front, away=away):
                    back.append(time.monotonic() + 3.5)
                    front.fault = (self.read_here(), lambda handler: (away if time.monotonic() < back[0] else faults.send)(handler), None)
                    faults.truncated(handler)
                front.fault = (self.layers[0].digest, leave, None)
                before = len(self.registry.answers())
                details = self.assert_pulled(front.address)
                self.assertEqual(details["bytes-fetched"], self.fetched())
                self.assertGreater(self.seconds, 3)
                # The other layer began while it was away, or before.
                self.assertEqual(self.readers(since=before), {0: {OWN}, 1: {OWN}, 2: {SKOPEO}})
                front.stop()

    def test_a_registry_that_stays_away_is_given_up_after_half_of_the_time(self):
        front = self.front()

        def leave(handler):
            front.fault = (self.read_here(), faults.cut_off, None)
            faults.truncated(handler)
        front.fault = (self.layers[0].digest, leave, None)
        self.assert_failed(front.address, "SourceUnreachable", stall=8000)
        self.assertGreater(self.seconds, 4)
        self.assertLess(self.seconds, 4 + 4 * sanitizers.SLOWER)

    def test_few_bytes_are_progress(self):
        front, asked = self.front(), []
        layer = self.layers[1]

        front.fault = (layer.digest, pieces(30_000, asked), None)
        details = self.assert_pulled(front.address)
        self.assertEqual((details["bytes-fetched"], len(asked)), (self.fetched(), -(-len(layer.data) // 30_000)))

    def test_one_that_refuses_the_rest_sends_all_of_it_again(self):
        large = self.layers[0]
        half, size = len(large.data) // 2, len(large.data)

        def another_part(handler):
            handler.answer = (206, [("Content-Range", f"bytes 0-{size - 1}/{size}")], large.data)
            faults.send(handler)
        for what, fault in ((416, faults.status(416)), (400, faults.status(400)), (403, faults.status(403)), (404, faults.status(404)), (501, faults.status(501)), ("another part", another_part)):
            with self.subTest(what):
                front, asked = self.front(), []

                def answer(handler, fault=fault, asked=asked):
                    asked.append(handler.headers.get("Range"))
                    (faults.truncated if len(asked) == 1 else fault if asked[-1] else faults.send)(handler)
                front.fault = (large.digest, answer, None)
                details = self.assert_pulled(front.address)
                self.assertEqual(asked, [None, f"bytes={half}-{size - 1}", None])
                self.assertEqual(details["bytes-fetched"], self.fetched(half))
                front.stop()

    def test_what_comes_again_is_limited_and_counted(self):
        large, rate = self.layers[0], 8 << 20
        front, asked = self.front(), []

        def whole(handler):
            asked.append(1)
            handler.answer = (200, [], large.data)
            # In the middle of what comes again, too.
            sent = {1: len(large.data) // 2, 2: len(large.data) // 4}.get(len(asked), len(large.data))
            faults.head(handler, 200, [], len(large.data))
            handler.wfile.write(large.data[:sent])
            handler.close_connection = True
        front.fault = (large.digest, whole, None)
        details = self.assert_pulled(front.address, settings={"rate": rate}, stall=2000)
        wanted = self.fetched(len(large.data) // 2, len(large.data) // 4)
        self.assertEqual(details["bytes-fetched"], wanted)
        self.assertGreater(self.seconds, wanted / rate * 0.95)

    def test_one_that_never_continues_is_given_up(self):
        front, asked = self.front(), []

        def whole(handler):
            asked.append(1)
            faults.head(handler, 200, [], LARGE)
            handler.wfile.write(self.layers[0].data[:len(asked) * 100_000])
            handler.close_connection = True
        front.fault = (self.layers[0].digest, whole, None)
        self.assert_failed(front.address, "SourceUnreachable", "DigestMismatch")
        self.assertLess(len(asked), 10)

    def test_all_attempts_of_a_job_are_counted(self):
        front, half = self.front(), len(self.layers[0].data) // 2
        gone = []

        def leave(handler):
            gone.append(1)
            (faults.truncated if len(gone) == 1 else faults.status(404) if len(gone) < 4 else faults.send)(handler)
        front.fault = (self.layers[0].digest, leave, None)
        details = self.assert_pulled(front.address, settings={"retries": 1, "layers-at-once": 1})
        # After the first attempt, which the registry ended in the middle: the rest, and all of it again.
        self.assertEqual((details["bytes-fetched"], len(gone)), (self.fetched(half), 4))

    def test_one_that_cuts_for_ever_is_given_up(self):
        front = self.front()
        sent = []

        front.fault = (self.layers[0].digest, pieces(100, sent), None)
        self.assert_failed(front.address, "SourceUnreachable")
        self.assertLess(len(sent), 70)

    def test_busy_registries_are_asked_again_when_they_say(self):
        front = self.front()
        for code in (429, 503):
            with self.subTest(code):
                front.fault = (self.layers[0].digest, faults.status(code, Retry_After="1"), 1)
                before = len(self.registry.answers())
                self.assert_pulled(front.address)
                self.assertGreater(self.seconds, 1)
                self.assertEqual(self.readers(since=before)[0], {OWN})

    def test_busy_registries_say_a_date_too(self):
        front = self.front()
        for seconds in (3, 3600):
            with self.subTest(seconds):
                asked = []

                def busy(handler, seconds=seconds, asked=asked):
                    asked.append(time.monotonic())
                    fault = faults.status(429, Retry_After=email.utils.formatdate(time.time() + seconds, usegmt=True)) if len(asked) == 1 else faults.send
                    fault(handler)
                self.own_fault(front, self.layers[0].digest, busy)
                before = len(self.registry.answers())
                if seconds < 60:
                    self.assert_pulled(front.address)
                    # A date has no fractions of a second.
                    self.assertGreater(asked[1] - asked[0], 1.9)
                else:
                    # skopeo would be refused as well.
                    self.assertRegex(self.assert_failed(front.address, "SourceUnreachable"), r"is busy \(status 429\), and asks to come back in 3[56][0-9]{2} seconds")
                self.assertLessEqual({program(agent) for path, _, _, agent in self.registry.answers()[before:] if path.endswith(self.layers[0].digest)}, {OWN})

    def test_a_service_that_dies_in_the_middle(self):
        front = self.front()
        front.fault = (self.layers[0].digest, faults.stalled, None)
        service, limits = self.service, {}

        def kill():
            end = time.monotonic() + 30
            while not any(self.layers[0].digest in path for path in front.requests) and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(0.5)
            reader = service.processes[-1]
            limits.update(line.split(":", 1) for line in pathlib.Path(f"/proc/{reader.pid}/status").read_text().splitlines())
            reader.send_signal(signal.SIGKILL)
        killer = threading.Thread(target=kill)
        killer.start()
        self.assert_failed(front.address, "SourceUnreachable", stall=20000)
        killer.join()
        self.assertLess(self.seconds, 15 * sanitizers.SLOWER)
        # It leaves those of other callers alone, as a skopeo does.
        self.assertEqual((limits["Seccomp"].strip(), limits["NoNewPrivs"].strip()), ("2", "1"))


class FalseService(skopeo_service.SkopeoService):
    """A right skopeo, and a reader of blobs that LIE stands for: called with the descriptors for bytes and reports of each blob."""

    def __init__(self, lie):
        self.lie = lie
        super().__init__()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            if json.loads(connection.recv(1 << 17, socket.MSG_PEEK))["kind"] == "blobs":
                threading.Thread(target=self.read_blobs, args=(connection,), daemon=True).start()
            else:
                self.processes.append(skopeo_service.start(connection.fileno(), self.environment))
                connection.close()

    def read_blobs(self, connection):
        socket.recv_fds(connection, 1 << 17, 4)
        with connection:
            while True:
                packet, files, _, _ = socket.recv_fds(connection, 4096, 2)
                if not packet:
                    return
                try:
                    with open(files[0], "wb") as data, open(files[1], "wb") as reports:
                        if self.lie(data, reports, json.loads(packet)):
                            return
                except OSError:
                    pass


class Lies(Case):
    """The worker believes the reader nothing."""

    @staticmethod
    def said(reports, state, **more):
        reports.write(json.dumps({"state": state, "kind": "Failed", "message": "", "pause-milliseconds": 0, **more}).encode() + b"\n")
        reports.flush()

    def test_what_a_reader_says_is_verified(self):
        def starts_for_ever(_, reports, __):
            # Many at once, of which the worker keeps some: it ends for their number, or since no byte comes.
            reports.write(b'{"state": "started", "kind": "Failed", "message": "", "pause-milliseconds": 0}\n' * 70)
            for _ in range(100_000):
                self.said(reports, "started")

        self.allow(self.registry.address)
        said, content = self.said, {layer.digest: layer.data for layer in self.layers}

        def sent(change, state="done"):
            def lie(data, reports, request):
                said(reports, "started")
                data.write(change(content[request["digest"]]))
                data.flush()
                if state:
                    said(reports, state)
            return lie
        def moved(steps):
            def lie(data, reports, request):
                said(reports, "started")
                for content_of, after, offset in steps(content[request["digest"]]):
                    if after or not content_of:
                        said(reports, "moved", after=after, offset=offset)
                    data.write(content_of)
                    data.flush()
                said(reports, "done")
            return lie
        for what, lie, errors in (
                ("it ends", lambda *_: True, None), ("it says nothing and closes", lambda *_: None, None),
                ("it leaves it", lambda _, reports, __: said(reports, "left-to-skopeo"), None), ("the truth", sent(lambda data: data), None),
                ("it is done before it starts", lambda _, reports, __: said(reports, "done"), None),
                ("other bytes", sent(lambda data: bytes(len(data))), ("DigestMismatch",)), ("fewer bytes", sent(lambda data: data[:-1]), ("DigestMismatch", "CorruptInput")),
                ("none", sent(lambda data: b""), ("DigestMismatch",)), ("more bytes", sent(lambda data: data + b"x"), ("DigestMismatch",)),
                ("all, and no word", sent(lambda data: data, None), ("SourceUnreachable",)), ("all, and a failure", sent(lambda data: data, "failed"), ("Failed",)),
                ("no report", lambda _, reports, __: reports.write(b"nonsense\n"), ("Failed",)), ("an endless report", lambda _, reports, __: reports.write(b"x" * 1_000_000), ("Failed",)),
                ("deep nonsense", lambda _, reports, __: reports.write(b"[" * 3000 + b"\n"), ("Failed",)),
                ("an error of its choice", lambda _, reports, __: said(reports, "failed", kind="NotFound", message="\x1b[31mred"), ("NotFound",)),
                ("some of it again", moved(lambda data: [(data[:9000], 9000, 4000), (data[4000:], 0, 0)]), None), ("some of it is left out", moved(lambda data: [(data[:9000], 9000, 9001), (data[9001:], 0, 0)]), ("Failed",)),
                ("it goes back too late", moved(lambda data: [(data[:9000], 0, 0), (b"", 8000, 10), (data[4000:], 0, 0)]), ("Failed", "DigestMismatch", "CorruptInput")),
                ("it goes back and brings other bytes", moved(lambda data: [(data[:9000], 9000, 4000), (bytes(len(data)), 0, 0)]), ("DigestMismatch", "CorruptInput")),
                ("it goes back to what comes later", moved(lambda data: [(b"", 9000, 9000), (data, 0, 0)]), None),
                ("it goes back for ever", moved(lambda data: [(b"", 0, 0)] * 100_000), ("SourceUnreachable",)), ("it starts for ever", starts_for_ever, ("Failed", "SourceUnreachable")),
                ("silence", lambda *_: time.sleep(4), ("SourceUnreachable",))):
            with self.subTest(what):
                self.service = FalseService(lie)
                self.addCleanup(self.service.stop)
                if errors is None:
                    self.assert_pulled(self.registry.address)
                else:
                    self.assertNotIn("\x1b", self.assert_failed(self.registry.address, *errors, stall=2000))


class Hostile(Case):
    def test_every_lie_ends_in_an_error_soon(self):
        front = self.front()
        large = self.layers[0]
        asked = []

        def record(handler):
            asked.append((handler.headers.get("User-Agent", ""), handler.headers.get("Authorization")))
            faults.head(handler, 200, [], 4)
            handler.wfile.write(b"evil")
        other = Server(record)
        self.addCleanup(other.stop)
        (self.directory / "secret").write_bytes(large.data)

        def redirect(where):
            return lambda handler: faults.head(handler, 307, [("Location", where)], 0)

        def endless(handler):
            handler.send_response(200)
            handler.end_headers()
            while True:
                handler.wfile.write(bytes(1 << 20))

        def endless_refusal(handler):
            handler.send_response(404)
            handler.end_headers()
            while True:
                handler.wfile.write(bytes(1 << 20))

        def many_headers(handler):
            handler.send_response(200)
            for number in range(100_000):
                handler.send_header(f"X-{number}", "x" * 1000)
            handler.end_headers()

        def length(value):
            def fault(handler):
                handler.send_response(200)
                handler.send_header("Content-Length", value)
                handler.end_headers()
                handler.wfile.write(large.data)
                handler.close_connection = True
            return fault

        def chunked(handler):
            handler.send_response(200)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            handler.wfile.write(b"fffffffffffffff\r\n" + bytes(1 << 16))
            handler.close_connection = True

        def packed(handler):
            faults.head(handler, 200, [("Content-Encoding", "gzip")], len(large.data))
            handler.wfile.write(large.data)

        def drip(handler):
            faults.head(handler, 200, [], len(large.data))
            for number in range(len(large.data)):
                handler.wfile.write(large.data[number:number + 1])
                handler.wfile.flush()
                faults.wait(handler, 0.3)
        def slow_headers(handler):
            for number in range(1000):
                handler.wfile.write(f"HTTP/1.1 200 OK\r\n"[number:number + 1].encode() or b"X: y\r\n")
                handler.wfile.flush()
                faults.wait(handler, 0.5)

        def continuing(handler):
            while True:
                handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

        def extended(handler):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;")
            while True:
                handler.wfile.write(b"x" * 65536)

        def trailers(handler):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(large.data) + large.data + b"\r\n0\r\n")
            while True:
                handler.wfile.write(b"X: " + b"x" * 1000 + b"\r\n")

        def bare(text):
            def fault(handler):
                handler.wfile.write(text)
                handler.close_connection = True
            return fault

        def part(handler):
            faults.head(handler, 206, [("Content-Range", f"bytes 0-{len(large.data) - 1}/{len(large.data)}")], len(large.data))
            handler.wfile.write(large.data[::-1])
        for what, fault in (
                ("slow headers", slow_headers), ("endless continue", continuing), ("endless extension", extended), ("endless trailers", trailers), ("a part unasked", part),
                ("no content", bare(b"HTTP/1.1 204 No Content\r\n\r\n")), ("not modified", bare(b"HTTP/1.1 304 Not Modified\r\n\r\n")), ("HTTP/0.9", bare(large.data)),
                ("HTTP/2", bare(b"HTTP/2 200 OK\r\n\r\n" + large.data[::-1])), ("switching", bare(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")),
                ("status 999", bare(b"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n")), ("status -1", bare(b"HTTP/1.1 -1 x\r\nContent-Length: 0\r\n\r\n")),
                ("dict", redirect(f"dict://{other.address}/x")), ("zone", redirect(f"http://[::1%25lo]:{other.address.split(':')[1]}/x")), ("data", redirect("data:text/plain,x")),
                ("no host", redirect("http:///etc/passwd")), ("backslash", redirect(f"http:\\\\{other.address}\\x")), ("dots", redirect("http://../x")),
                ("long", redirect("/" + "x" * 60_000)), ("a challenge of 60 KiB", lambda handler: faults.head(handler, 401, [("WWW-Authenticate", 'Bearer realm="' + "x" * 60_000 + '"')], 0)),
                ("file", redirect(f"file://{self.directory}/secret")), ("ftp", redirect(f"ftp://{other.address}/x")), ("gopher", redirect(f"gopher://{other.address}/_x")),
                ("a user", redirect(f"http://user:secret@{other.address}/x")), ("loop", faults.redirected_for_ever), ("another's content", redirect(f"http://{other.address}/x")),
                ("endless", endless), ("endless refusal", endless_refusal), ("headers", many_headers), ("longer", length(str(len(large.data) + 5))), ("shorter", length("5")),
                ("negative", length("-1")), ("two lengths", length("5, 6")), ("huge", length("9" * 30)), ("chunked", chunked), ("packed", packed), ("drip", drip),
                ("not http", faults.not_http), ("other bytes", faults.other), ("more", faults.longer), ("less", faults.shorter)):
            with self.subTest(what):
                front.fault = (large.digest, fault, None)
                message = self.assert_failed(front.address, "Failed", "SourceUnreachable", "DigestMismatch", "CorruptInput", "NotFound", "SourceDenied", stall=2000)
                print(f"    {what}: {self.seconds:.1f} s: {message[:160]}")
                self.assertLess(self.seconds, 40 * sanitizers.SLOWER)
        front.fault = None
        self.assert_pulled(front.address)
        # skopeo takes a user from where it is redirected to.
        self.assertEqual({login for agent, login in asked if agent.startswith(OWN)}, {None})

    def test_realms_that_are_no_token_server(self):
        front = self.front()
        self.authfile = {"auths": {front.address: {"auth": LOGIN}}}
        for realm in ("file:///etc/passwd", "ftp://127.0.0.1/", "http://user:x@127.0.0.1:1/", "", "nonsense", f"http://127.0.0.1:{free_port()}/token"):
            with self.subTest(realm):
                front.fault = (BLOBS, lambda handler, realm=realm: faults.head(handler, 401, [("WWW-Authenticate", f'Bearer realm="{realm}",service="x"')], 0), None)
                self.assert_failed(front.address, "Failed", "SourceUnreachable", "SourceDenied", stall=2000)

    def test_tokens_that_are_none(self):
        front = self.front()
        self.authfile = {"auths": {front.address: {"auth": LOGIN}}}
        body = [b""]

        def answer(handler):
            faults.head(handler, 200, [], len(body[0]))
            handler.wfile.write(body[0])
        tokens = Server(answer)
        self.addCleanup(tokens.stop)
        front.fault = (BLOBS, lambda handler: faults.head(handler, 401, [("WWW-Authenticate", f'Bearer realm="http://{tokens.address}/token"')], 0), None)
        for text in (b"", b"[]", b"{}", b'{"token": 1}', b'{"token": "a\\r\\nX-Evil: 1"}', b"x" * 10_000_000, b"[" * 100_000, b'{"token": "never right"}'):
            with self.subTest(text[:20]):
                body[0] = text
                self.assert_failed(front.address, "Failed", "SourceUnreachable", "SourceDenied", "CorruptInput", stall=3000)
        self.assertFalse(any("Evil" in (login or "") for _, login, _ in front.logins))


class Proxies(Case):
    def test_a_proxy_is_asked_for_other_hosts(self):
        asked = []

        class Proxy(faults.FaultyRegistry):
            """The registry, whatever host it is asked for."""
        proxy = Proxy(self.registry.address)
        self.addCleanup(proxy.stop)
        strip = re.compile(r"^http://registry\.test:5000")

        def through(handler):
            asked.append(handler.path)
            faults.send(handler)
        proxy.fault = ("^http://", through, None)
        self.assertTrue(strip.match("http://registry.test:5000/v2/"))
        self.allow("registry.test:5000")
        self.service.environment.update({"HTTP_PROXY": f"http://{proxy.address}", "NO_PROXY": "other.test"})
        before = len(self.registry.answers())
        self.assert_pulled("registry.test:5000")
        self.assertTrue(all(path.startswith("http://registry.test:5000/v2/") for path in asked if path.startswith("http")))
        self.assertEqual(self.readers(since=before), {0: {OWN}, 1: {OWN}, 2: {SKOPEO}})


if __name__ == "__main__":
    unittest.main(verbosity=2)
