"""The records of a node on its disk: LMDB, the thread that writes it, and what is encrypted."""
