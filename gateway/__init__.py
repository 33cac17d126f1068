"""Soglia, the in-store edge gateway: the daemon, its core and its pages."""

__version__ = "0.1.0"
