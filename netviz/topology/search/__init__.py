"""Finding anything by a part of its name or address, on the server: `finder.get_finder().find(text)`."""
