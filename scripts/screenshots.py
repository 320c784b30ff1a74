#!/usr/bin/env python3
"""Makes the pictures of the dashboard in docs/images/, with ten nodes on 127.0.0.1 and a headless Chromium.

    tox -e screenshots

It needs chromium and chromedriver (Debian: chromium, chromium-driver), and about a minute.
"""

import argparse
import sys
import tempfile
import threading
from pathlib import Path

from dht14.client.keys import key_of
from tests.browser.chromium import Browser, DashboardNode, browser, missing, start_node
from tests.process.nodes import Twistd, eventually, network

TOP = Path(__file__).parent.parent
NODES, KILLED, VALUES = 10, 3, 60
WIDE, PHONE = 1280, 380


def load(nodes: list[Twistd], ended: threading.Event) -> None:
    """Put and get through all nodes until told to end."""
    clients = [node.client() for node in nodes]
    number = 0
    while not ended.is_set():
        number += 1
        client = clients[number % len(clients)]
        client.put(key_of(f"load {number}"), b"value" * (number % 100 + 1))
        clients[(number + 3) % len(clients)].get(key_of(f"load {number // 2}"))


def shows_contacts(page: Browser, count: int) -> None:
    """Wait until the page has its contacts and a minute's worth of nothing strange."""
    eventually(lambda: len(page.all("#peers tbody tr")) >= count, "the contacts")
    eventually(lambda: page.text("#rate") != "–", "the rates")


def take_all(folder: Path, page: Browser, shown: DashboardNode, others: list[Twistd]) -> None:
    """Take each picture in its turn."""
    page.open(shown.link, WIDE)
    shows_contacts(page, NODES)
    page.save_picture(folder / "dashboard-rest.png")
    page.prefer(color_scheme="dark")
    page.save_picture(folder / "dashboard-dark.png")
    page.prefer(color_scheme="light")
    page.open(shown.link, PHONE, 820)
    shows_contacts(page, NODES)
    page.save_picture(folder / "dashboard-phone.png")
    page.open(shown.link, WIDE)
    shows_contacts(page, NODES)
    ended = threading.Event()
    loading = threading.Thread(target=load, args=([shown.node, *others], ended))
    loading.start()
    try:
        eventually(
            lambda: page.run("return document.querySelector('#rate-line path')?.getTotalLength() > 60"),
            "rates",
        )
        page.fill("#key", "greeting")
        page.click("button[value=trace]")
        page.wait_for_text("#result", "found after")
        eventually(lambda: len(page.all(".hop:not(.fading)")) > 3, "lookups")
        page.save_picture(folder / "dashboard-load.png")
    finally:
        ended.set()
        loading.join()
    for node in others[:KILLED]:
        node.kill()
    page.open(shown.link, WIDE)
    eventually(lambda: len(page.all("#space .bad")) >= KILLED, "the dead contacts")
    shows_contacts(page, 1)
    page.save_picture(folder / "dashboard-killed.png")


def main() -> int:
    """Start the network and take the pictures; return the exit code."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--output", type=Path, default=TOP / "docs" / "images", metavar="FOLDER")
    folder = options.parse_args().output
    if reason := missing():
        print(f"screenshots.py: {reason}", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, network(scratch) as nodes, browser() as page:
        first = nodes.bootstrap_node()
        shown = start_node(nodes, first)
        others = [nodes.node(seeds=(first,)) for _ in range(NODES - 1)]
        for node in (shown.node, *others):
            node.wait_for("Joined")
            node.wait_for_api()
        client = shown.node.client()
        assert client.put(key_of("greeting"), b"hello, all")
        for number in range(VALUES):
            assert client.put(key_of(f"value {number}"), bytes(number * 40 + 1))
        take_all(folder, page, shown, others)
    for picture in sorted(folder.glob("dashboard-*.png")):
        print(f"{picture}: {picture.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
