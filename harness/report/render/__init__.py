"""A report in the forms it is read in: an HTML page, Markdown."""
