"""Measurements, side by side with a floor or a peer in the same run. Nothing here passes or fails a build."""
