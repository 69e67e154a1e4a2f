"""Storage on disk: atomic writes, records with checksums, locks, study and run folders."""
