"""A file descriptor that came with a request: closed once."""

from __future__ import annotations

import os

import pytest

from tests.support.descriptors import Sent
from twisted_qmon.core.descriptor import Descriptor


def test_close() -> None:
    """It is closed once, however often that is asked for: another file may have its number by then."""
    with Sent() as sent, Sent() as other:
        descriptor = Descriptor(sent.number)
        assert descriptor.fileno() == sent.number
        descriptor.close()
        assert descriptor.closed
        assert not sent.is_open()
        os.dup2(other.number, sent.number)
        descriptor.close()
        del descriptor
        os.close(other.number)
        assert other.is_open()
        os.close(sent.number)
        assert not other.is_open()


def test_number_of_a_closed_one() -> None:
    """A closed one has no number."""
    with Sent() as sent:
        descriptor = Descriptor(sent.number)
        descriptor.close()
        with pytest.raises(ValueError, match="the descriptor is closed"):
            descriptor.fileno()


def test_dropped() -> None:
    """One that is dropped is closed."""
    with Sent() as sent:
        descriptor = Descriptor(sent.number)
        assert sent.is_open()
        del descriptor
        assert not sent.is_open()


def test_not_inherited() -> None:
    """Programs that this process starts don't inherit it."""
    with Sent() as sent:
        os.set_inheritable(sent.number, True)
        descriptor = Descriptor(sent.number)
        assert not os.get_inheritable(descriptor.fileno())
        descriptor.close()


def test_closed_already() -> None:
    """One that is closed already does no harm."""
    with Sent() as sent:
        os.close(sent.number)
        Descriptor(sent.number).close()
