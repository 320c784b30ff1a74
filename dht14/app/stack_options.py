"""What the settings of a node mean for the objects that it is made of."""

from dht14.app.options import Role, Settings, YesNo
from dht14.node.join import Retries
from dht14.node.policy import Policy
from dht14.session.acceptor import Limits
from dht14.stack import StackOptions


def stack_options(settings: Settings, role: Role) -> StackOptions:
    """Return the options of a stack."""
    node, storage = settings.node, settings.storage
    return StackOptions(
        policy=Policy(
            replication=storage.replication,
            min_ttl=storage.min_ttl,
            max_ttl=storage.max_ttl,
            default_ttl=storage.ttl_unless_asked,
        ),
        storage_limit=storage.storage_limit if role is Role.NODE else None,
        writer_share=storage.writer_share,
        kept_limit=storage.kept_limit,
        cleanup_interval=node.cleanup_interval,
        refresh_interval=storage.refresh_interval,
        republish_interval=storage.republish_interval,
        seeds=settings.bootstrap,
        retries=Retries(node.bootstrap_retry_interval, node.max_bootstrap_retries),
        advertised=node.advertised_address,
        limits=Limits(
            peer_rate=settings.rate_limiter.peer_requests_per_second,
            peer_burst=settings.rate_limiter.peer_burst_size,
            diversity_private=settings.security.diversity_private is YesNo.YES,
        ),
    )
