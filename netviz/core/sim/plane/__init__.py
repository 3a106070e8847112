"""The forwarding plane: the list of device kinds, and the drivers that carry frames through them."""
