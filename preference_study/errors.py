"""The project's own errors: each message says what is wrong, where, and what to do."""


class StudyError(SystemExit):
    """An error that its message explains. Where nothing catches it, the program ends with that message and status 1."""


class BadInput(StudyError):
    """Input that cannot be used; the message names the file, the row or column, and the remedy."""


class BadParams(StudyError):
    """Parameters that are not right; the message names each, its value and what is allowed."""


class BadModel(StudyError):
    """A model folder that must not be used; the message says why."""
