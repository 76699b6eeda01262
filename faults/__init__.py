"""Campaigns of faults, attacks and absurd numbers against the real program."""
