"""Magnetic resonance imaging: operators from images to k-space, and coil maps."""
