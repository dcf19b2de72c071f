"""The documentation: checks of every Markdown page in the repository, and the site that MkDocs builds."""
