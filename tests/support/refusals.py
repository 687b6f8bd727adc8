"""What tests of refusals share."""

import json

import pytest


def refusal(function, *arguments, **named) -> str:
    """The message of the ValueError that a call must raise: one line."""
    return _message(ValueError, function, *arguments, **named)


def refusal_of_file(function, *arguments, **named) -> str:
    """The same where a file may also be refused with an OSError."""
    return _message((ValueError, OSError), function, *arguments, **named)


def _message(errors, function, *arguments, **named) -> str:
    with pytest.raises(errors) as caught:
        function(*arguments, **named)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def saved_config(folder, values) -> str:
    """The path of a folder whose config.json says this: an object, or text as it is."""
    folder.joinpath("config.json").write_text(values if isinstance(values, str) else json.dumps(values), "utf-8")
    return str(folder)
