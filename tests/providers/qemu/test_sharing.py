"""What many QEMUs of one version share in one process."""

from __future__ import annotations

import gc

from tests.support.fake_qemu import Proxy, make_schema
from twisted_qmon.providers.qemu.commands import UpstreamCommands
from twisted_qmon.providers.qemu.description import _known, offered_by
from twisted_qmon.qapi.types.json_text import JSONText, shared_text


def description_of(proxy: Proxy) -> UpstreamCommands:
    """What a proxy has registered for its QEMU's commands."""
    monitor = proxy.monitor
    return next(provider for provider in monitor.providers if isinstance(provider, UpstreamCommands))


def test_same_version() -> None:
    """Two QEMUs with the same schema share what it describes; one with another schema has its own."""
    one, two, other = Proxy(), Proxy(), Proxy(connect=False)
    other.qemu.greet()
    other.qemu.introduce({"x-new": (False, False)})
    infos = [proxy.monitor.command("query-block").info for proxy in (one, two, other)]  # type: ignore[union-attr]
    assert infos[0] is infos[1]
    assert infos[0] is not infos[2]
    assert description_of(one).events is description_of(two).events
    assert other.monitor.command("x-new") is not None
    assert one.monitor.command("x-new") is None


def test_answers() -> None:
    """The answers that each QEMU's proxy makes of it are shared as well, as long as they are the same."""
    one, two = Proxy(), Proxy()
    schemas = [proxy.client().execute("query-qmp-schema") for proxy in (one, two)]
    assert schemas[0] == schemas[1]
    texts = [description_of(proxy)._encoded["_make_schema"][1] for proxy in (one, two)]
    assert texts[0] is texts[1]


def test_forgotten() -> None:
    """Nothing is kept of a version when the last QEMU of that version is gone."""
    text = JSONText.of(make_schema({"x-only-here": (False, False)}))
    offered = offered_by(text)
    assert offered_by(JSONText(bytes(bytearray(text.text)))) is offered
    del offered
    gc.collect()
    assert text.text not in _known


def test_shared_text() -> None:
    """The same text is one object."""
    first = shared_text(JSONText(b'"abc"'))
    assert shared_text(JSONText(b'"abc"')) is first
    assert shared_text(JSONText(b'"abd"')) is not first
