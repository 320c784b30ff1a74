"""TODO dht14/session."""
