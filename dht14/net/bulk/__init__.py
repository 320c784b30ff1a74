"""TODO dht14/net/bulk."""
