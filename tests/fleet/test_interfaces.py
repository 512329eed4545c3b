"""
What a fleet is made of.
"""

import pytest

from twisted_qmon.errors import GenericError
from twisted_qmon.fleet.errors import JoinRefused, NameTaken, NoSuchMember
from twisted_qmon.fleet.interfaces import member_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("web-1", "web-1"),
        ("Web_1", "Web_1"),
        ("host.example.org-qmon-17", "host_example_org-qmon-17"),
        ("a b/c", "a_b_c"),
        ("größe", "gr__e"),
        ("..", "__"),
        ("a\n", "a_"),
    ],
)
def test_a_name_is_made_of_any_text(text: str, name: str) -> None:
    """Each character that a member's name can't have becomes an underscore."""
    assert member_name(text) == name


def test_a_name_is_not_empty() -> None:
    """A member without a name can't be called."""
    with pytest.raises(ValueError, match="not empty"):
        member_name("")


@pytest.mark.parametrize("error", [JoinRefused, NameTaken, NoSuchMember])
def test_errors_are_answers(error: type[GenericError]) -> None:
    """What goes wrong between a caller and a member is an error as commands have them."""
    assert error("it is so").to_wire() == {"class": "GenericError", "desc": "it is so"}
