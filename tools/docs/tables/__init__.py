"""The tables of the documents: each a function from records to Markdown."""
