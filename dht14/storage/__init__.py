"""Pure: values, their order, their expiry, and the bounded store that holds them."""
