"""The life of a real node: options, data directory, database directory, service, logs."""
