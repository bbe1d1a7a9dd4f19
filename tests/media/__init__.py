"""Audio analysis and the object store, on real FFmpeg and a real S3 server."""
