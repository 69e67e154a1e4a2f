"""The report of a study: tables, figures and pages, all computed from its run folders alone."""
