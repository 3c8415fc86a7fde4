"""The two ways an export ends badly; each is one line for a person, never a traceback.

ExportError        the export failed: exit code 1
└── UsageError     what was asked for makes no sense: exit code 2
"""


class ExportError(Exception):
    """Something outside the program went wrong; the message says what, where, and what to do next."""

    exit_code = 1


class UsageError(ExportError):
    """An argument names something that does not exist or cannot be."""

    exit_code = 2
