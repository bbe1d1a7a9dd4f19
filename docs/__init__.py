"""The documentation, and the scripts that make its generated parts and its pictures."""
