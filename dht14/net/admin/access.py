"""Who may use the admin surface: the rules that keep a web page in the operator's own browser out.

Over a Unix socket the file mode of the socket decides, and nothing else is asked. Over TCP three rules hold
on every address, loopback included:

- `Host` must be an IP address, `localhost` or one of the configured names. A page whose domain was pointed at
  this host (DNS rebinding) sends its own domain.
- `Origin`, if there is one, must be the page of this very server.
- What changes anything, reads a value or names a key needs the token.
"""

from collections.abc import Collection
from hmac import compare_digest
from ipaddress import ip_address

from attrs import frozen

TOKEN_BYTES = 32


@frozen
class AccessRules:
    """The rules of one listener."""

    token: str | None
    """None: no token is asked for, because only the owner of the socket can connect."""
    host_names: Collection[str] = ()
    """Names beside `localhost` under which the server may be addressed, in lower case."""

    def accepts_host(self, host: str | None) -> bool:
        """Whether a request addressed to this `Host` is meant for this server."""
        if self.token is None:
            return True
        name = _name_of(host) if host else ""
        return name == "localhost" or name in self.host_names or _is_ip_address(name)

    def accepts_origin(self, origin: str | None, host: str | None) -> bool:
        """Whether the page that sends the request is of this server. Only browsers send `Origin`."""
        return origin is None or (host is not None and origin.lower() == f"http://{host.lower()}")

    def accepts_token(self, authorization: str | None) -> bool:
        """Whether an `Authorization` header has the right token; in the same time whatever it has."""
        if self.token is None:
            return True
        scheme, _, token = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and compare_digest(token.strip().encode(), self.token.encode())


def _name_of(host: str) -> str:
    """Return the host without its port, and without the brackets of IPv6."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _is_ip_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
