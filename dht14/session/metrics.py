"""What the encrypted session layer counts: handshakes by role, and datagrams dropped by reason."""

from attrs import define

from dht14.metrics import Family, counter

HANDSHAKES = Family("dht14_handshakes_total", "Handshakes that made a session, by the role of this node.")
DROPPED = Family(
    "dht14_session_datagrams_dropped_total", "Datagrams that the session layer dropped, by reason."
)


@define
class SessionMetrics:
    """What `EncryptedLayer` and its `Acceptor` count."""

    opened: int = HANDSHAKES.value(role="initiator")
    accepted: int = HANDSHAKES.value(role="responder")
    challenges: int = counter("dht14_challenges_sent_total", "CHALLENGEs sent in reply to HELLOs.")
    hellos_withheld: int = counter(
        "dht14_hellos_withheld_total", "HELLOs not sent because the address got too many from this node."
    )
    no_session: int = DROPPED.value("DATA or ACCEPT of no session.", reason="no_session")
    unauthentic: int = DROPPED.value(
        "It is forged, repeated or too late for the replay window.", reason="unauthentic"
    )
    unasked_challenge: int = DROPPED.value("A CHALLENGE to no HELLO.", reason="unasked_challenge")
    other_node: int = DROPPED.value("A CHALLENGE of a node that was not called.", reason="other_node")
    hello_over_limit: int = DROPPED.value("A HELLO over the rate limit.", reason="hello_over_limit")
    stale_finish: int = DROPPED.value(
        "A FINISH whose cookie or pre-key is out of date.", reason="stale_finish"
    )
    finish_over_limit: int = DROPPED.value("A FINISH over the rate limit.", reason="finish_over_limit")
