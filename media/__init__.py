"""Audio: probe, decode, fingerprint, features, waveform; the object store."""
