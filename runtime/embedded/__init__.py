"""The real parts, embedded: PostgreSQL, Temporal and an S3 server under one data folder, supervised."""
