"""
Some of QEMU's own commands, with its own signatures, that answer what a QEMU without machine and devices answers.

The recorded conversations with a QEMU (C{twisted_qmon/conformance/recorded.json}) use them. Register it with C{shadow=True} where
C{human-monitor-command} is there already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from twisted_qmon.core.command import CommandProvider, command
from twisted_qmon.errors import DeviceNotFound, GenericError
from twisted_qmon.qapi.types import Alternate, Boxed, Size, Tagged, UInt8, UInt64

StrOrNull = Annotated[str | None, Alternate("StrOrNull")]
OnOffUnmap = Literal["off", "on", "unmap"]


@dataclass
class BlockdevCacheOptions:
    direct: bool = False
    no_flush: bool = False


@dataclass(kw_only=True)
class BlockdevOptionsBase:
    """What all drivers have, besides the driver itself."""

    node_name: str | None = None
    discard: Literal["ignore", "unmap"] | None = None
    cache: BlockdevCacheOptions | None = None
    read_only: bool = False
    auto_read_only: bool = False
    force_share: bool = False
    detect_zeroes: OnOffUnmap | None = None


@dataclass
class BlockdevOptionsRaw(BlockdevOptionsBase):
    driver: Literal["raw"]
    file: BlockdevRef
    offset: int | None = None
    size: int | None = None


@dataclass
class BlockdevOptionsNull(BlockdevOptionsBase):
    driver: Literal["null-aio", "null-co"]
    size: int | None = None
    latency_ns: UInt64 | None = None
    read_zeroes: bool = False


@dataclass
class Qcow2OverlapCheckFlags:
    template: Literal["none", "constant", "cached", "all"] | None = None
    main_header: bool | None = None


@dataclass
class BlockdevOptionsQcow2(BlockdevOptionsBase):
    driver: Literal["qcow2"]
    file: BlockdevRef
    backing: BlockdevRefOrNull | None = None
    lazy_refcounts: bool | None = None
    overlap_check: (
        Annotated[
            Literal["none", "constant", "cached", "all"] | Qcow2OverlapCheckFlags, Alternate("Qcow2OverlapChecks")
        ]
        | None
    ) = None
    cache_size: int | None = None


BlockdevOptions = Annotated[
    BlockdevOptionsRaw | BlockdevOptionsNull | BlockdevOptionsQcow2, Tagged("driver", "BlockdevOptions")
]
BlockdevRef = Annotated[BlockdevOptions | str, Alternate("BlockdevRef")]
BlockdevRefOrNull = Annotated[BlockdevOptions | str | None, Alternate("BlockdevRefOrNull")]


@dataclass
class StatsRequest:
    provider: Literal["kvm"]
    names: list[str] | None = None


@dataclass
class StatsFilterVM:
    target: Literal["vm"]
    providers: list[StatsRequest] | None = None


@dataclass
class StatsFilterVCPU:
    target: Literal["vcpu"]
    providers: list[StatsRequest] | None = None
    vcpus: list[str] | None = None


StatsFilter = Annotated[StatsFilterVM | StatsFilterVCPU, Tagged("target", "StatsFilter")]


class Stats(TypedDict):
    name: str
    value: Annotated[UInt64 | bool | list[UInt64], Alternate("StatsValue")]


@dataclass
class StatsResult:
    provider: Literal["kvm"]
    stats: list[Stats]
    qom_path: str | None = None


@dataclass
class YankBlockNode:
    type: Literal["block-node"]
    node_name: str


@dataclass
class YankChardev:
    type: Literal["chardev"]
    id: str


@dataclass
class YankMigration:
    type: Literal["migration"]


YankInstance = Annotated[YankBlockNode | YankChardev | YankMigration, Tagged("type", "YankInstance")]


@dataclass
class MigrationCapabilityStatus:
    capability: Literal["xbzrle", "events"]
    state: bool


@dataclass
class BitmapMigrationBitmapAlias:
    name: str
    alias: str


@dataclass
class BitmapMigrationNodeAlias:
    node_name: str
    alias: str
    bitmaps: list[BitmapMigrationBitmapAlias]


@dataclass
class MigrateSetParameters:
    """A few of them, of each kind of number."""

    announce_max: Size | None = None
    compress_level: UInt8 | None = None
    tls_creds: StrOrNull | None = None
    max_bandwidth: Size | None = None
    block_bitmap_mapping: list[BitmapMigrationNodeAlias] | None = None


class QEMUCommands(CommandProvider):
    """The commands; each does nothing but what its answer needs."""

    @command
    def human_monitor_command(self, command_line: str, cpu_index: int | None = None) -> str:
        """execute a line of the human monitor"""
        if cpu_index is not None:
            raise GenericError("Parameter 'cpu-index' expects a CPU number")
        name = command_line.strip().partition(" ")[0]
        return f"unknown command: '{name}'\r\n" if name else ""

    @command(name="set_link")
    def set_link(self, name: str, up: bool) -> None:
        """change the link status of a network adapter"""
        raise DeviceNotFound(f"Device '{name}' not found")

    @command
    def query_stats(self, filter: Annotated[StatsFilter, Boxed()]) -> list[StatsResult]:
        """statistics; none without KVM"""
        return []

    @command
    def blockdev_add(self, options: Annotated[BlockdevOptions, Boxed()]) -> None:
        """add a block node"""
        if options.node_name is None:
            raise GenericError("'node-name' must be specified for the root node")

    @command
    def qom_set(self, path: str, property: str, value: Any) -> None:
        """set a property of an object"""
        raise GenericError(f"Property 'none-machine.{property}' not found")

    @command(oob=True)
    def query_yank(self) -> list[YankInstance]:
        """what can be yanked: the socket of the monitor itself"""
        return [YankChardev("chardev", "compat_monitor0")]

    @command(oob=True)
    def migrate_pause(self) -> None:
        """pause a migration"""
        raise GenericError("migrate-pause is currently only supported during postcopy-active state")

    @command
    def migrate_set_capabilities(self, capabilities: list[MigrationCapabilityStatus]) -> None:
        """set what a migration may do"""

    @command
    def migrate_set_parameters(self, parameters: Annotated[MigrateSetParameters, Boxed()]) -> None:
        """set how a migration does it"""

    @command(name="block-latency-histogram-set")
    def block_latency_histogram_set(
        self,
        id: str,
        boundaries: list[UInt64] | None = None,
        boundaries_read: list[UInt64] | None = None,
        boundaries_write: list[UInt64] | None = None,
        boundaries_flush: list[UInt64] | None = None,
    ) -> None:
        """set the boundaries of a histogram"""
        raise DeviceNotFound(f"Device '{id}' not found")
