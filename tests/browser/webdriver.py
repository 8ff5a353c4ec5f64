# SPDX-License-Identifier: Apache-2.0
"""A browser by the WebDriver protocol: chromedriver and chromium as Debian has them, and nothing but Python's standard library."""
import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ENTER, ESCAPE, TAB = "\ue007", "\ue00c", "\ue004"


class BrowserError(Exception):
    pass


def programs():
    """chromium and chromedriver, or None for what is missing."""
    return [shutil.which(name) for name in ("chromium", "chromedriver")]


class Browser:
    """One window. close() ends the browser."""

    def __init__(self, *more):
        """MORE: arguments for chromium."""
        chromium, driver = programs()
        self.profile = tempfile.mkdtemp(prefix="imaged-chromium-")
        self.driver = subprocess.Popen(["nice", driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                       env={**os.environ, "HOME": self.profile})
        for line in self.driver.stdout:
            if found := re.search(r"successfully on port (\d+)", line):
                break
        else:
            raise BrowserError("chromedriver does not start")
        self.address = f"http://127.0.0.1:{found[1]}"
        # Without a sandbox of its own: root may not have it, and the pages are the test's.
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb", "--hide-scrollbars",
                     "--no-first-run", "--disable-background-networking", "--disable-extensions", f"--user-data-dir={self.profile}/data", *more]
        always = {"browserName": "chrome", "goog:chromeOptions": {"binary": chromium, "args": arguments}, "goog:loggingPrefs": {"browser": "ALL"}}
        self.path = ""
        self.path = "/session/" + self.send("POST", "/session", {"capabilities": {"alwaysMatch": always}})["sessionId"]

    def close(self):
        try:
            self.send("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(20)
            self.driver.stdout.close()
            shutil.rmtree(self.profile, ignore_errors=True)

    def send(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + self.path + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise BrowserError(f"{value['error']}: {value['message'].splitlines()[0] if value['message'] else ''}") from None

    def open(self, url):
        self.send("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """What the body of a function SCRIPT returns."""
        return self.send("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script, *arguments):
        """The same; the last argument of the function is called with the result."""
        return self.send("POST", "/execute/async", {"script": script, "args": list(arguments)})

    def find(self, selector):
        """The elements that match a CSS SELECTOR and are shown, or an XPath that begins with /."""
        using = "xpath" if selector.startswith("/") else "css selector"
        found = self.send("POST", "/elements", {"using": using, "value": selector})
        return [element[ELEMENT] for element in found]

    def text(self, selector):
        """Of all matches, one a line; empty if there is none."""
        return "\n".join(self.send("GET", f"/element/{element}/text") for element in self.find(selector))

    def eventually(self, condition, what, timeout=30):
        """The first true value of CONDITION. What is being replaced just now counts as not there."""
        end = time.monotonic() + timeout
        last = None
        while time.monotonic() < end:
            try:
                if value := condition():
                    return value
            except BrowserError as error:
                last = error
                if not re.match("stale|no such element|element click intercepted|element not interactable|javascript error", str(error)):
                    raise
            time.sleep(0.05)
        raise AssertionError(f"not within {timeout} s: {what}{f' ({last})' if last else ''}\n{self.text('body')[:4000]}")

    def wait(self, selector, timeout=30):
        return self.eventually(lambda: self.find(selector), "there is " + selector, timeout)[0]

    def wait_text(self, selector, *texts, timeout=30):
        def condition():
            shown = self.text(selector)
            return shown if all(text in shown for text in texts) else None
        return self.eventually(condition, f"{texts} in {selector}", timeout)

    def gone(self, selector, timeout=30):
        self.eventually(lambda: not self.find(selector), "there is no " + selector, timeout)

    def click(self, selector, timeout=30):
        def click():
            found = self.find(selector)
            if not found:
                return False
            self.send("POST", f"/element/{found[0]}/click", {})
            return True
        self.eventually(click, "it can be clicked: " + selector, timeout)

    def press(self, name, inside="", timeout=30):
        """Clicks the button with NAME as its text or label."""
        self.click(f"{inside or '/'}/descendant::button[not(@disabled)][@aria-label='{name}' or normalize-space(.)='{name}']", timeout)

    def type(self, selector, text):
        def enter():
            self.send("POST", f"/element/{self.wait(selector)}/value", {"text": text})
            return True
        self.eventually(enter, "it takes text: " + selector)

    def keys(self, *keys):
        """To whatever has the focus."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.send("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def devtools(self, command, **parameters):
        return self.send("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def size(self, width, height):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def dark(self, on):
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if on else "light"}])

    def picture(self, path, whole=False):
        """A screenshot of the window, or of the WHOLE page."""
        data = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def messages(self):
        """What the console has said since the last call, warnings and errors."""
        return [entry["message"] for entry in self.send("POST", "/se/log", {"type": "browser"}) if entry["level"] in ("WARNING", "SEVERE")]

    def frame(self, selector):
        self.send("POST", "/frame", {"id": {ELEMENT: self.wait(selector)}})
