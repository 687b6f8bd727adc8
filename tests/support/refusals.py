"""What tests of refusals share."""

import json

import pytest


def refusal(function, *arguments, **named) -> str:
    """The message of the ValueError that a call must raise: one line."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the callers read the message)
        function(*arguments, **named)
    message = str(caught.value)
    assert "\n" not in message
    return message


def saved_config(folder, values) -> str:
    """The path of a folder whose config.json says this: an object, or text as it is."""
    folder.joinpath("config.json").write_text(values if isinstance(values, str) else json.dumps(values), "utf-8")
    return str(folder)
