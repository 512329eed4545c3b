"""
The commands, the schema and the name that the proxy has from its QEMU.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.balloon import Caller
from tests.support.fake_qemu import COMMANDS, VERSION, Proxy, make_schema
from twisted_qmon import CommandProvider, QMPFactory, command
from twisted_qmon.info import CommandInfo, ParameterInfo, TypeInfo
from twisted_qmon.providers.qemu import Qemu
from twisted_qmon.providers.qemu.schema import merge_schema
from twisted_qmon.qapi.schema import build_schema
from twisted_qmon.testing import HMPConnection, QMPConnection, connected_client


class NamesTests(SynchronousTestCase):
    """Who we say that we are, and what there is."""

    def test_version(self) -> None:
        """Greeting and C{query-version} are QEMU's."""
        proxy = Proxy()
        client = proxy.client()
        self.assertEqual(client.greeting["QMP"]["version"], VERSION)
        client.send({"execute": "query-version", "id": 1})
        self.assertEqual(client.received(), [{"return": VERSION, "id": 1}])
        self.assertEqual(proxy.qemu.asked(), [])

    def test_greeting_waits(self) -> None:
        """A client that comes early is greeted when QEMU is known, or after two seconds with what is known then."""
        proxy = Proxy(connect=False)
        early = proxy.client_at_once()
        self.assertEqual(early.take_bytes(), b"")
        proxy.qemu.greet()
        proxy.qemu.introduce()
        self.assertEqual(early.received()[0]["QMP"]["version"], VERSION)
        proxy.endpoint.there = False
        proxy.qemu.die()
        late = proxy.client_at_once()
        proxy.clock.advance(1.9)
        self.assertEqual(late.take_bytes(), b"")
        proxy.clock.advance(0.2)
        self.assertEqual(late.received()[0]["QMP"]["version"], VERSION)

    def test_greeting_timeout(self) -> None:
        """How long a greeting waits is an option; 0 is not at all. The same for a person."""
        proxy = Proxy(connect=False)
        patient = QMPConnection(proxy.monitor, negotiate=False, ready_timeout=30.0)
        person = HMPConnection(proxy.monitor, ready_timeout=30.0)
        proxy.clock.advance(29.9)
        self.assertEqual(patient.take_bytes(), b"")
        self.assertFalse((person.banner + person.output()).endswith("(qmon) "))
        proxy.clock.advance(0.2)
        self.assertIn("QMP", patient.received()[0])
        self.assertTrue(person.output().endswith("(qmon) "))
        hasty = QMPConnection(proxy.monitor, negotiate=False, ready_timeout=0)
        self.assertIn("QMP", hasty.greeting)
        self.assertTrue(HMPConnection(proxy.monitor, ready_timeout=0).banner.endswith("(qmon) "))
        self.assertRaises(ValueError, QMPFactory, proxy.monitor, ready_timeout=-1)

    def test_greeting_without_qemu(self) -> None:
        """Without any QEMU so far the greeting tells our own version."""
        proxy = Proxy(start=False)
        proxy.endpoint.there = False
        proxy.provider.service.startService()
        client = proxy.client_at_once()
        proxy.clock.advance(2.1)
        self.assertIn("twisted-qmon", client.received()[0]["QMP"]["version"]["package"])

    def test_ready(self) -> None:
        """There is no wait for a proxy that does not run; giving up leaves nothing behind."""
        proxy = Proxy(start=False)
        self.assertIsNone(proxy.provider.when_ready())
        proxy.provider.service.startService()
        waiting = proxy.provider.when_ready()
        assert waiting is not None
        waiting.addErrback(lambda _: None).cancel()
        self.assertEqual(len(proxy.provider._ready), 0)
        proxy.qemu.greet()
        proxy.qemu.introduce()
        self.assertIsNone(proxy.provider.when_ready())

    def test_commands(self) -> None:
        """C{query-commands} has QEMU's and ours, each once, and is encoded once."""
        proxy = Proxy()
        client = proxy.client()
        client.send({"execute": "query-commands", "id": 1})
        names = [each["name"] for each in client.received()[0]["return"]]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual({"query-pending", "cancel-command", "qmon-migrate", "qmp_capabilities"}, set(names))
        self.assertLessEqual(set(COMMANDS), set(names))
        one = proxy.monitor.submit("query-commands", None, Caller()).result
        self.assertIs(proxy.monitor.submit("query-commands", None, Caller()).result, one)
        proxy.monitor.register_command("more", lambda: None)
        self.assertIn("more", str(proxy.monitor.submit("query-commands", None, Caller()).result.value))

    def test_origin(self) -> None:
        """Those that run on QEMU are marked."""
        proxy = Proxy()
        infos = self.successResultOf(proxy.monitor.commands())
        self.assertEqual({infos[name].origin for name in set(COMMANDS) - {"qmp_capabilities"}}, {"qemu"})
        self.assertEqual(infos["qmon-migrate"].origin, "")
        completing = {name for name, info in infos.items() if info.completes}
        self.assertEqual(completing, {name for name in infos if name.startswith("qmon-")})

    def test_origin_from_afar(self) -> None:
        """A client of the proxy is told, too, which run on QEMU: so its human console sends lines there."""
        proxy = Proxy()
        client, pump = connected_client(proxy.monitor)
        asked = client.commands()
        pump.flush()
        commands = self.successResultOf(asked)
        self.assertEqual(commands["human-monitor-command"].origin, "qemu")
        self.assertEqual(commands["qmon-migrate"].aliases, ("migrate",))
        self.assertTrue(commands["qmon-migrate"].completes)
        self.assertFalse(commands["query-pending"].completes)

    def test_wrong_arguments_of_known(self) -> None:
        """What is answered here without QEMU goes to QEMU when it has arguments, for QEMU's own error."""
        proxy = Proxy()
        client = proxy.client()
        for name in ("query-version", "query-commands", "query-qmp-schema"):
            client.send({"execute": name, "arguments": {"x": 1}, "id": 1})
            (request,) = proxy.qemu.asked()
            self.assertEqual(request["execute"], name)
            proxy.qemu.answer(request, {})

    def test_schema(self) -> None:
        """The schema is QEMU's as it is, with ours behind it."""
        proxy = Proxy()
        client = proxy.client()
        client.send({"execute": "query-qmp-schema", "id": 1})
        schema = client.received()[0]["return"]
        theirs = make_schema()
        self.assertEqual(schema[: len(theirs)], theirs)
        names = [each["name"] for each in schema]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual({"query-pending", "qmon-savevm", "QEMU_CONNECTED"}, set(names))
        used = {
            name
            for each in schema
            for name in [each.get("arg-type"), each.get("ret-type"), each.get("element-type")]
            + [member.get("type") for member in each.get("members", ())]
            if name is not None
        }
        self.assertEqual(used - set(names), set())

    def test_help_is_known(self) -> None:
        """QEMU's help is kept: the console asks for it with each connection. Other lines go to QEMU."""
        proxy = Proxy()
        client = proxy.client()
        for line in ("help", "info"):
            client.send({"execute": "human-monitor-command", "arguments": {"command-line": line}, "id": 1})
            self.assertEqual(client.received(), [{"return": "stop|s  -- stop emulation\r\n", "id": 1}])
        self.assertEqual(proxy.qemu.asked(), [])
        arguments: dict[str, Any]
        for arguments in ({"command-line": "info name"}, {"command-line": "help", "cpu-index": 0}, {"command-line": 5}):
            client.send({"execute": "human-monitor-command", "arguments": arguments, "id": 1})
            (request,) = proxy.qemu.asked()
            self.assertEqual(request["arguments"], arguments)
            proxy.qemu.answer(request, "")

    def test_covers_ours(self) -> None:
        """Where QEMU has a command ours steps aside, and is there again when the proxy is taken out."""

        class Ours(CommandProvider):
            @command
            def quit(self) -> str:
                """ours"""
                return "ours"

        proxy = Proxy(start=False)
        proxy.monitor.register(Ours())
        proxy.provider.service.startService()
        proxy.qemu.greet()
        proxy.qemu.introduce()
        self.assertNoResult(proxy.monitor.execute("quit"))
        self.assertEqual([each["execute"] for each in proxy.qemu.asked()], ["quit"])
        proxy.monitor.unregister(proxy.provider)
        self.assertEqual(self.successResultOf(proxy.monitor.execute("quit")), "ours")
        self.assertIsNone(proxy.monitor.upstream)
        self.assertNotIn("qmon-migrate", self.successResultOf(proxy.monitor.commands()))

    def test_endpoint_description(self) -> None:
        """An endpoint may be given as its description; nonsense is told at once."""
        self.assertRaises(ValueError, Qemu, "nonsense:x", object())
        self.assertRaises(ValueError, Qemu, "unix", object())


def test_merge_keeps_types_apart() -> None:
    """Types that have the same masked name in both schemas are two; builtin types are one."""
    theirs: list[dict[str, Any]] = [
        {"name": "x", "meta-type": "command", "arg-type": "0", "ret-type": "[1]"},
        {"name": "0", "meta-type": "object", "members": []},
        {"name": "1", "meta-type": "enum", "members": [{"name": "a"}], "values": ["a"]},
        {"name": "[1]", "meta-type": "array", "element-type": "1"},
        {"name": "str", "meta-type": "builtin", "json-type": "string"},
    ]
    colour = TypeInfo("enum", "Colour", values=("red",))
    info = CommandInfo(
        "paint",
        parameters=(ParameterInfo("colours", TypeInfo("list", element=colour)), ParameterInfo("text", TypeInfo("str"))),
        returns=TypeInfo("list", element=TypeInfo("list", element=colour)),
    )
    ours = build_schema([("paint", info, False, ())], [("DRY", (ParameterInfo("colour", colour),))])
    merged = merge_schema(theirs, ours)
    assert merged[: len(theirs)] == theirs
    entries = {each["name"]: each for each in merged}
    assert len(entries) == len(merged)
    members = {each["name"]: each["type"] for each in entries[entries["paint"]["arg-type"]]["members"]}
    element = entries[members["colours"]]["element-type"]
    assert entries[element]["values"] == ["red"]
    assert element != "1"
    assert members["text"] == "str"
    inner = entries[entries["paint"]["ret-type"]]["element-type"]
    assert entries[inner]["element-type"] == element
    assert entries[entries["DRY"]["arg-type"]]["members"] == [{"name": "colour", "type": element}]
