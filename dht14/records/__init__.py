"""TODO dht14/records."""
