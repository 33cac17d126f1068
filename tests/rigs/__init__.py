"""Stand-ins for hardware and helpers to watch readers; see each module."""
