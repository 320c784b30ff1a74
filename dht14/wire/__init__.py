"""Pure: bytes to messages and back. Past these decoders every field is valid and typed."""
