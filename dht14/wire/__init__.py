"""Pure: bytes to messages and back. Past these decoders every field is valid and typed.

docs/protocol.md specifies the bytes: of the API in section 1, of the RPCs in 2.1, of the bulk channel in 5.3.
"""
