"""The catalog service: a folder per resource; auth; pages."""
