"""TODO dht14/app."""
