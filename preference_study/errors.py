"""The project's own errors: each message says what is wrong, where, and what to do."""


class BadInput(Exception):
    """Input that cannot be used; the message names the file, the row or column, and the remedy."""
