"""What docs/protocol.md says, for tests that compare it with the code."""

import re
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "protocol.md"


def section(number: str) -> str:
    """The text of a section, without those below other headings: `2.1`."""
    found = re.search(
        rf"^#+ {re.escape(number)}\.? .*?(?=^#+ |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found is not None, number
    return found[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the rows of all tables, without the dashes."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|-")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def vectors(text: str) -> dict[int, tuple[str, bytes]]:
    """The examples, `number NAME: what it says` with the bytes in the next lines: name and bytes, by
    number."""
    found = re.findall(r"^(\d+) ([A-Z_ ]+)(?:: .*)?\n((?:    [0-9a-f]+\n)+)", text, re.MULTILINE)
    return {int(number): (name, bytes.fromhex("".join(raw.split()))) for number, name, raw in found}


def hex_lines(raw: bytes) -> str:
    """Bytes as the page shows them."""
    text = raw.hex()
    return "".join(f"    {text[at : at + 96]}\n" for at in range(0, len(text), 96))
