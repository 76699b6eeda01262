"""What the project's file of a scan is called, and which versions of it there are."""

__all__ = ["FORMAT", "LAYOUT", "SEALED", "VERSION"]

LAYOUT = "invprob scan"
FORMAT, VERSION = "invprob-scan", 2
SEALED = 2  # the version from which on a file has a digest
