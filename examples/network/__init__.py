"""A small web on loopback: sites of many kinds, well and unwell, and what a crawl of them must come to."""
