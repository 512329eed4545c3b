"""
C{args_type} declarations.
"""

from __future__ import annotations

import pytest

from twisted_qmon.errors import RegistrationError
from twisted_qmon.info import ArgsItem
from twisted_qmon.qapi.args_type import parse_args_type


@pytest.mark.parametrize(
    ("declaration", "items"),
    [
        ("", []),
        ("  ", []),
        ("value:M", [ArgsItem("value", "M")]),
        ("path:F,freq:i?", [ArgsItem("path", "F"), ArgsItem("freq", "i", optional=True)]),
        ("path:F, freq:i?", [ArgsItem("path", "F"), ArgsItem("freq", "i", optional=True)]),
        ("index:i.", [ArgsItem("index", "i", optional=True, dot=True)]),
        ("force:-f,device:B", [ArgsItem("force", "-", optional=True, flag="f"), ArgsItem("device", "B")]),
        ("display:-ds", [ArgsItem("display", "-", optional=True, flag="d", flag_value=True)]),
        ("s:-s", [ArgsItem("s", "-", optional=True, flag="s")]),
        ("s:-ss", [ArgsItem("s", "-", optional=True, flag="s", flag_value=True)]),
        ("fmt:/,addr:l", [ArgsItem("fmt", "/"), ArgsItem("addr", "l")]),
        ("device:O", [ArgsItem("device", "O")]),
        ("cpu-index:i,bps_rd:l", [ArgsItem("cpu-index", "i"), ArgsItem("bps_rd", "l")]),
        *[(f"k:{letter}", [ArgsItem("k", letter)]) for letter in "FBsSOilMoTb"],
    ],
)
def test_parsed(declaration: str, items: list[ArgsItem]) -> None:
    """Each form of QEMU's grammar gives its item."""
    assert parse_args_type(declaration) == tuple(items)


@pytest.mark.parametrize(
    ("declaration", "why"),
    [
        ("value", "'value' is not of the form key:TYPE"),
        ("value:", "'value:' is not of the form key:TYPE"),
        (":s", "':s' is not of the form key:TYPE"),
        ("a:s,", "'' is not of the form key:TYPE"),
        ("a:ss", "'a:ss' is not of the form key:TYPE"),
        ("a:s??", "'a:s??' is not of the form key:TYPE"),
        ("a:-", "'a:-' is not of the form key:TYPE"),
        ("a:-fx", "'a:-fx' is not of the form key:TYPE"),
        ("a b:s", "'a b:s' is not of the form key:TYPE"),
        ("a:Q", "there is no type 'Q'"),
        ("a:f", "there is no type 'f'"),
        ("a:-f?", "the flag 'a:-f?' is optional without '?'"),
        ("a:s,a:i", "the key 'a' comes twice"),
        ("fmt:/,size:l", "the key 'size' comes twice"),
    ],
)
def test_refused(declaration: str, why: str) -> None:
    """A declaration that makes no sense is refused at registration, with the item that is wrong."""
    with pytest.raises(RegistrationError) as caught:
        parse_args_type(declaration)
    assert str(caught.value) == f"args_type {declaration!r}: {why}"
