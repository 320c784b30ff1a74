"""A headless Chromium that shows the dashboards of real nodes."""

import base64
import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.process.nodes import Network, Twistd, eventually
from tests.process.ports import free_port

# Only the tox environments `browser` and `screenshots` have it.
HAS_SELENIUM = find_spec("selenium") is not None
if HAS_SELENIUM:
    from PIL import Image
    from selenium import webdriver
    from selenium.webdriver.common.by import By

PROGRAMS = ("chromium", "chromedriver")


def missing() -> str:
    """Return why there can be no browser here; an empty text if there can."""
    if not HAS_SELENIUM:
        return "selenium is not installed: use tox -e browser"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


@frozen
class DashboardNode:
    """A node whose dashboard a browser can show."""

    node: Twistd
    admin_port: int

    @property
    def url(self) -> str:
        """The address of the page, without the token."""
        return f"http://127.0.0.1:{self.admin_port}/"

    @property
    def link(self) -> str:
        """The link with the token, as the operator gets it."""
        return f"{self.url}#token={self.token}"

    @property
    def token(self) -> str:
        """The token of the node."""
        return (self.node.folder / "data" / "node" / "admin.token").read_text().strip()


def start_node(network: Network, *seeds: Twistd) -> DashboardNode:
    """Start a node with a dashboard, and wait until it serves its API."""
    port = free_port()
    address = {"DHT14_NODE_ADMIN_ADDRESS": f"127.0.0.1:{port}"}
    return DashboardNode(network.node(seeds=seeds, environment=address).wait_for_api(), port)


@frozen
class Browser:
    """One window of one Chromium."""

    driver: Any

    def open(self, url: str, width: int = 1280, height: int = 900) -> None:
        """Show a page in a window whose inside has this size."""
        # A window is never narrower than 500 px; what is emulated can be.
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get("about:blank")
        self.driver.get(url)

    def prefer(self, **features: str) -> None:
        """Emulate what the user prefers: `color_scheme="dark"`, `reduced_motion="reduce"`."""
        wanted = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})

    def find(self, selector: str) -> Any:
        """Return the first element of a CSS selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        """Return all elements of a CSS selector."""
        found: list[Any] = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return found

    def text(self, selector: str) -> str:
        """Return the text of an element as it is shown; an empty one while there is no such element."""
        text: str = self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)
        return text

    def wait_for_text(self, selector: str, wanted: str) -> str:
        """Return the text of an element once it contains this."""

        def shown() -> str | None:
            text = self.text(selector)
            return text if wanted in text else None

        return eventually(shown, f"{wanted!r} in {selector}")

    def fill(self, selector: str, text: str) -> None:
        """Write into a field."""
        found = self.find(selector)
        found.clear()
        found.send_keys(text)

    def click(self, selector: str) -> None:
        """Click on an element."""
        self.find(selector).click()

    def press_tab(self) -> None:
        """Press the tab key."""
        key = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
        self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": "keyDown", **key})
        self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": "keyUp", **key})

    def run(self, script: str, *values: object) -> Any:
        """Run a script in the page; return what it returns."""
        return self.driver.execute_script(script, *values)

    def console(self) -> list[str]:
        """Return the errors and warnings of the console so far; each is returned once."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requested(self) -> list[str]:
        """Return the addresses of all requests so far; each is returned once."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    def save_picture(self, path: Path, height: int | None = None) -> None:
        """Save a picture of the page from its top on; all of it without `height`."""
        width, whole = self.run("return [innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": height or whole, "scale": 1}
        options = {"format": "png", "clip": clip, "captureBeyondViewport": True}
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", options)
        picture = Image.open(io.BytesIO(base64.b64decode(taken["data"])))
        # The page has few colours: a palette makes the file a third as large. The rare ones have to be in it.
        rare = Image.Quantize.MAXCOVERAGE
        picture.convert("RGB").quantize(256, rare, dither=Image.Dither.NONE).save(path, optimize=True)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium for a `with` block."""
    options = webdriver.ChromeOptions()
    # A container has no name spaces to build a sandbox of, and little shared memory.
    for switch in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(switch)
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"), env={**os.environ, "LC_ALL": "C.UTF-8"})
    driver = webdriver.Chrome(options, service)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
