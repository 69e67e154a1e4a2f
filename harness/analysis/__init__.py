"""What a study's run folders say, computed once: a report renders it and nothing else."""
