"""What lies on disk: files written atomically, records with checksums, locks, study and run folders."""
