"""The composition root: settings, embedded stack, worker, command line."""
