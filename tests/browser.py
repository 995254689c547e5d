"""A headless Chromium for tests of HTML reports, spoken to through its debugging pipe.

No driver and no package: Chromium reads commands on file descriptor 3 and answers on 4, JSON
between zero bytes. Where no Chromium is installed, tests that ask for one skip and say so.

The accessibility check axe-core (MPL-2.0, by Deque) is run where it is found: in the file that
$AXE_CORE names, or where this puts it:
    npm install --prefix .venv/axe axe-core@4.14.1
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

AXE = Path(__file__).parents[1] / ".venv/axe/node_modules/axe-core/axe.min.js"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def chromium() -> str | None:
    """The browser's path, or None: $CHROMIUM first, then the usual names."""
    asked = os.environ.get("CHROMIUM")
    return asked if asked else next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One page of the browser.

    Attributes:
        faults: texts of console errors, uncaught exceptions and refused loads, as they came.
        requests: addresses that the page asked for.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._buffer = b""
        self._number = 0
        self.faults: list[str] = []
        self.requests: list[str] = []
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command of the DevTools protocol to the page and returns its result."""
        return self._ask(method, parameters, self._session)

    def _ask(self, method: str, parameters: dict, session: str | None = None) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read(time.monotonic() + 60)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _read(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], max(until - time.monotonic(), 0))[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self._from, 1 << 20)
            if not part:
                raise RuntimeError("the browser has ended")
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(line)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, about: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.faults.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "assert"):
            self.faults.append(str([a.get("value") for a in about["args"]]))
        elif method == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.faults.append(about["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])

    def open(self, path: Path) -> float:
        """Opens a file and waits until it is loaded; returns the seconds that took."""
        self.faults.clear()
        self.requests.clear()
        start = time.monotonic()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while self.run("document.readyState") != "complete":
            time.sleep(0.02)
        return time.monotonic() - start

    def run(self, script: str) -> Any:
        """Evaluates an expression in the page (awaiting a promise) and returns its value."""
        got = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in got:
            raise RuntimeError(str(got["exceptionDetails"]))
        return got["result"].get("value")

    def key(self, name: str, code: int, text: str = "") -> None:
        """Presses and lets go of a key, as a person would."""
        common = {"key": name, "code": name, "windowsVirtualKeyCode": code}
        typed = {"text": text} if text else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **common, **typed)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    def window(self, width: int, height: int, dark: bool = False) -> None:
        """Sets the size of the page in CSS pixels, and the colour scheme that a person prefers."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def axe(self) -> list[str]:
        """Runs axe on the page as it is; returns what it finds wrong, one line a rule."""
        import pytest

        script = Path(os.environ.get("AXE_CORE") or AXE)
        if not script.exists():
            pytest.skip("axe-core is not installed (npm install --prefix .venv/axe axe-core)")
        self.run(script.read_text(encoding="utf-8") + ";0")
        found = self.run("axe.run(document, {resultTypes: ['violations']}).then(r => r.violations)")
        return [
            f"{rule['id']}: {rule['help']}: {[node['html'][:200] for node in rule['nodes'][:3]]}"
            for rule in found
        ]

    def picture(self, path: Path) -> Path:
        """Writes what the window shows as PNG."""
        data = self.ask("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))
        return path


def _high(descriptor: int) -> int:
    """Moves a file descriptor out of the way of 3 and 4, which the browser's ends become."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


@contextlib.contextmanager
def open_page() -> Iterator[Page]:
    """Starts a browser with an empty profile and yields its page; ends the browser afterwards."""
    program = chromium()
    if program is None:
        import pytest

        pytest.skip("no Chromium on this machine (apt-get install chromium, or set CHROMIUM)")
    to_read, to_write = map(_high, os.pipe())
    from_read, from_write = map(_high, os.pipe())
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
    options += ["--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage"]

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The shell puts the pipes where Chromium looks for them.
        words = f'exec "$0" "$@" 3<&{to_read} 4>&{from_write}'
        command = ["bash", "-c", words, program, *options, f"--user-data-dir={profile}"]
        browser = subprocess.Popen(
            [*command, "about:blank"],
            pass_fds=(to_read, from_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(from_write)
        try:
            yield Page(to_write, from_read)
        finally:
            browser.terminate()
            try:
                browser.wait(10)
            except subprocess.TimeoutExpired:
                browser.kill()
                browser.wait()
            os.close(to_write)
            os.close(from_read)
