"""A small WebDriver client (https://www.w3.org/TR/webdriver2/): real clicks in a real Chromium."""

import json
import re
import shutil
import subprocess
import time
import urllib.request


class Browser:
    """Chromium without a window, driven by ``chromedriver``; used as a ``with`` block."""

    def __init__(self, width=1200, height=900):
        self.process = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True
        )
        port = None
        for line in self.process.stdout:
            found = re.search(r"started successfully on port (\d+)", line)
            if found:
                port = found[1]
                break
        if port is None:
            raise RuntimeError("chromedriver did not start")
        self.address = f"http://127.0.0.1:{port}"
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        arguments += ["--disable-dev-shm-usage", f"--window-size={width},{height}"]
        options = {"args": arguments, "binary": shutil.which("chromium")}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        try:
            session = self.send("session", {"capabilities": {"alwaysMatch": wanted}})
        except Exception:
            self.process.terminate()
            self.process.communicate()
            raise
        self.path = f"session/{session['sessionId']}"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        try:
            self.send(self.path, method="DELETE")
        finally:
            self.process.terminate()
            self.process.communicate()

    def send(self, path, body=None, method="POST"):
        data = None if method == "DELETE" else json.dumps(body or {}).encode()
        request = urllib.request.Request(f"{self.address}/{path}", data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(json.load(error)["value"]["message"]) from None

    def open(self, path):
        self.send(f"{self.path}/url", {"url": path.as_uri()})

    def run(self, script, *arguments):
        """What ``script`` returns."""
        return self.send(f"{self.path}/execute/sync", {"script": script, "args": list(arguments)})

    def act(self, *actions, kind="pointer"):
        source = {"type": kind, "id": kind, "actions": list(actions)}
        if kind == "pointer":
            source["parameters"] = {"pointerType": "mouse"}
        self.send(f"{self.path}/actions", {"actions": [source]})

    def move(self, x, y):
        self.act(at(x, y))

    def click(self, x, y):
        self.act(at(x, y), down(), up())

    def drag(self, x, y, dx, dy):
        self.act(at(x, y), down(), at(x + dx / 2, y + dy / 2), at(x + dx, y + dy), up())

    def wheel(self, x, y, amount):
        turn = {"type": "scroll", "x": x, "y": y, "deltaX": 0, "deltaY": amount, "duration": 0}
        self.act(turn, kind="wheel")

    def keys(self, text):
        strokes = [{"type": kind, "value": c} for c in text for kind in ("keyDown", "keyUp")]
        self.act(*strokes, kind="key")

    def until(self, script, *arguments):
        """Wait until ``script`` returns something true, and return that."""
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up:
            found = self.run(script, *arguments)
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"never came true: {script}")

    def complaints(self):
        """What the browser's console says, without the icon that a page may have."""
        entries = self.send(f"{self.path}/se/log", {"type": "browser"})
        return [e["message"] for e in entries if "favicon" not in e["message"]]


def at(x, y):
    return {"type": "pointerMove", "x": round(x), "y": round(y), "duration": 0}


def down():
    return {"type": "pointerDown", "button": 0}


def up():
    return {"type": "pointerUp", "button": 0}
