"""Behaviour: coroutines over ports. No sockets and no reactor here, but Deferreds and log events."""
