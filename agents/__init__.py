"""The collector. It knows nothing of the server but netviz.core."""

__version__ = "0.1.0"
