"""TODO dht14/database."""
