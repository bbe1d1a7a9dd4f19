"""Campaign files, their record, and what can be said about their runs."""
