"""Mistakes of a user or of the place, each with its exit code; shown as a sentence, never as a traceback."""


class UserError(Exception):
    """Something a person can mend; its text says what, where, which value and what to do."""

    exit_code = 1


class UsageError(UserError):
    """Wrong usage of a command, or a malformed address."""

    exit_code = 2


class ConfigurationError(UserError):
    """A setting that does not exist or has a value outside its limits."""

    exit_code = 3


class NotReachedError(UserError):
    """Something did not answer in time."""

    exit_code = 4
