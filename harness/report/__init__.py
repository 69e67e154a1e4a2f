"""The report of a study: tables, figures and pages, all of them pure functions of its run folders."""
