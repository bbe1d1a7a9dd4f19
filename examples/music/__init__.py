"""Scores of public-domain songs, invented ensembles that perform them, and the synthesiser that renders them."""
