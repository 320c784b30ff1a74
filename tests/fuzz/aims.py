"""What each target aims at: files and folders below dht14/. Apart from the targets, whose import loads
them."""

AIMS: dict[str, tuple[str, ...]] = {
    "message": ("wire/datagram.py", "wire/schema.py", "wire/fast_codec.py", "wire/contacts.py"),
    "contacts": ("wire/contacts.py",),
    "envelope": ("records/envelope.py", "records/signing.py"),
    "record": ("records/record.py", "records/envelope.py"),
    "api_message": ("wire/api_messages.py",),
    "configuration": ("app/config.py", "app/option_types.py", "app/shared_file.py"),
    "data_files": ("app/data_dir.py", "wire/contacts.py", "security/identity.py"),
    "owners_key": ("records/signing.py",),
    "disk_entry": ("database/entry_format.py", "database/vault.py"),
    "sealed_session": ("session",),
    "node": ("node", "net/rpc", "kademlia"),
    "sealed_node": ("node", "net/rpc", "kademlia", "session"),
    "bulk_answer": ("wire/bulk_messages.py",),
    "bulk_holder": ("net/bulk/server.py", "wire/frames.py"),
    "bulk_asker": ("net/bulk/client.py", "wire/bulk_messages.py"),
    "tls_bytes": ("net/bulk/tls.py", "net/bulk/server.py"),
    "tls_peer": ("net/bulk/tls.py", "net/bulk/server.py"),
    "api_stream": ("net/api", "wire/frames.py"),
    "api_clients": ("net/api", "wire/frames.py"),
    "admin_http": ("net/admin",),
    "same_message": ("wire/datagram.py", "wire/schema.py", "wire/fast_codec.py", "wire/contacts.py"),
    "same_items": ("wire/datagram.py", "wire/schema.py"),
    "same_session": ("session",),
}
