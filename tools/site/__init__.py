"""The documentation site: the pages as they lie in the repository, and a reference of the API.

``make docs`` builds it with Sphinx.
"""
