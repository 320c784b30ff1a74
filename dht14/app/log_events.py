"""The name of each log event: what a line is about, in one word of the field that never changes.

DHT-14 names its events where it logs them (`event="join.joined"`). Lines of Twisted, which has no names, get
theirs here. docs/operations.md lists all of them.
"""

import re

from twisted.logger import LogEvent, formatEvent

LINES_LOST = "log.lines_lost"
REPEATED = "log.repeated"
NOT_FORMATTED = "log.not_formatted"

OF_TWISTED = {
    "twisted.starting": r"twistd .* starting up\.",
    "twisted.reactor": r"reactor class: ",
    "twisted.ended": r"Server Shut Down\.|Main loop terminated\.",
    "twisted.port_opened": r".* starting on ",
    "twisted.port_closed": r"\(.*Port .* Closed\)",
    "twisted.user_set": r"set e?uid/e?gid ",
    "twisted.http_timeout": r"(Timing|Forcibly timing) out client",
    "twisted.not_accepted": r"Could not accept new connection",
}
"""Event -> how its lines begin. What matches nothing is `OTHER_ERROR` or `OTHER`."""

OTHER_ERROR = "twisted.error"
"""It comes with a traceback: an error that nobody handled, a bug."""
OTHER = "twisted.other"

_KNOWN = [(name, re.compile(beginning)) for name, beginning in OF_TWISTED.items()]


def event_name(event: LogEvent) -> str:
    """Return the name that an event has, or the one that it gets. Raises what the fields of a broken event
    raise."""
    name = event.get("event")
    if isinstance(name, str):
        return name
    message = formatEvent(event)
    for known, beginning in _KNOWN:
        if beginning.match(message):
            return known
    return OTHER_ERROR if "log_failure" in event or event.get("isError") else OTHER
