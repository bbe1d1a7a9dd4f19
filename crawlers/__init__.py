"""How pages are fetched: engines, politeness, robots, limits, snapshots.

Every byte off the network comes through here.
"""
