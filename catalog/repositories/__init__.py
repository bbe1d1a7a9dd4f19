"""Statements on the catalog's tables, one module per concern; each method is one transaction."""
