"""All targets by name, each with inputs to begin with."""

from collections.abc import Callable, Iterable
from pathlib import Path

from attrs import frozen

from tests.fuzz import (
    api,
    bulk,
    decoders,
    differential,
    differential_frames,
    differential_sessions,
    http,
    nodes,
    sealed_nodes,
    sessions,
    tls,
)

HERE = Path(__file__).parent


@frozen
class Target:
    """A function of bytes that raises where there is a bug, and good inputs of it."""

    name: str
    run: Callable[[bytes], None]
    make_samples: Callable[[], Iterable[bytes]]
    longest: int = 4_096
    """The size of the longest input."""
    cost: int = 1
    """The cost of an input, as a multiple of that of most targets: the suite runs as much less often."""

    @property
    def corpus(self) -> Path:
        """Inputs that reach lines which the samples do not reach, and inputs that found a bug."""
        return HERE / "corpus" / f"{self.name}.hex"

    def seeds(self) -> list[bytes]:
        """The samples and the corpus."""
        kept = self.corpus.read_text().splitlines() if self.corpus.exists() else []
        return [*self.make_samples(), *(bytes.fromhex(line) for line in kept if not line.startswith("#"))]


TARGETS = {
    target.name: target
    for target in (
        Target("message", decoders.message, decoders.messages, 1_300),
        Target("contacts", decoders.contacts, decoders.packed_contacts),
        Target("envelope", decoders.owners_envelope, decoders.envelopes, 1_200),
        Target("record", decoders.record, decoders.records, 1_200),
        Target("api_message", decoders.api_message, decoders.api_frames),
        Target("configuration", decoders.configuration, decoders.configurations),
        Target("data_files", decoders.data_files, decoders.kept_files),
        Target("owners_key", decoders.owners_key, decoders.owners_keys),
        Target("disk_entry", decoders.disk_entry, decoders.disk_entries),
        Target("sealed_session", sessions.sealed_session, sessions.session_steps),
        Target("node", nodes.node, nodes.node_steps),
        Target("sealed_node", sealed_nodes.sealed_node, sealed_nodes.sealed_steps, cost=6),
        Target("bulk_answer", bulk.bulk_answer, bulk.bulk_answers, 70_000),
        Target("bulk_holder", bulk.bulk_holder, bulk.holder_steps),
        Target("bulk_asker", bulk.bulk_asker, bulk.asker_steps, 16_384),
        Target("tls_bytes", bulk.tls_bytes, bulk.tls_hellos, 2_048),
        Target("tls_peer", tls.tls_peer, tls.tls_steps, cost=4),
        Target("api_stream", nodes.api_stream, nodes.api_streams, 8_192),
        Target("api_clients", api.api_clients, api.client_steps),
        Target("admin_http", http.admin_http, http.http_steps, cost=2),
        Target("same_message", differential.same_message, differential.same_messages, 1_300),
        Target("same_items", differential.same_items, differential.item_steps, 1_500),
        Target("same_frames", differential_frames.same_frames, differential_frames.frame_streams),
        Target("same_answers", differential_frames.same_answers, differential_frames.answer_streams),
        Target("same_session", differential_sessions.same_session, differential_sessions.same_steps, cost=3),
    )
}
