"""
Handlers, their annotations and their C{args_type}: what is accepted at registration, and what is not.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Optional, Union

import msgspec
import pytest

from tests.support.argument_types import (
    INTEGER,
    UNSIGNED,
    Block,
    Color,
    Line,
    Null,
    OtherRaw,
    Point,
    Raw,
    taking,
    wrong,
)
from twisted_qmon.core.request import Request
from twisted_qmon.errors import RegistrationError
from twisted_qmon.qapi.signature import Signature, compile_signature, default_params
from twisted_qmon.qapi.types import Boxed, Tagged, UInt8

# -- handlers


class Provider:
    """A handler of each kind."""

    def method(self, job_id: str, from_: int = 0) -> None: ...

    def local_request(self, a: str, request: Request) -> None: ...

    def __call__(self, called: str) -> None: ...

    @classmethod
    def of_class(cls, a: str) -> None: ...

    @staticmethod
    def static(a: str) -> None: ...


def _wraps(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("handler", "names"),
    [
        (Provider().method, ["job-id", "from"]),
        (Provider(), ["called"]),
        (Provider.of_class, ["a"]),
        (Provider.static, ["a"]),
        (functools.partial(Provider().method, "j"), ["from"]),
        (functools.partial(Provider().method, job_id="j"), ["from"]),
        (_wraps(Provider().method), ["job-id", "from"]),
        (lambda a, b=1: None, ["a", "b"]),
        (lambda *args: None, []),
        (lambda: None, []),
    ],
)
def test_handlers(handler: Callable[..., Any], names: list[str]) -> None:
    """Anything that can be called with keywords is a handler; its arguments have dashes on the wire."""
    signature = compile_signature(handler)
    assert signature.parameters is not None
    assert [parameter.name for parameter in signature.parameters] == names
    assert (signature.parameters == ()) == (not names)


def _by_string(a: str, request: "Missing.Request") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037


def _or_none(request: Request | None = None) -> None: ...


def _optional_request(request: Optional[Request] = None) -> None: ...  # noqa: UP045


@pytest.mark.parametrize("handler", [Provider().local_request, _by_string, _or_none, _optional_request])
def test_request(handler: Callable[..., Any]) -> None:
    """The parameter that takes the request is no argument, even where only a type checker knows the class."""
    signature = compile_signature(handler)
    assert signature.request_parameter == "request"
    assert "request" not in [parameter.name for parameter in signature.parameters or ()]
    arguments = {parameter.name: "a" for parameter in signature.parameters or ()}
    assert wrong(signature, {**arguments, "request": 1}) == "Parameter 'request' is unexpected"


def test_class_called_request() -> None:
    """A class of the user's that is called Request too is an argument."""

    @dataclass
    class Request:
        a: int

    def handler(request: Request) -> None: ...

    signature = compile_signature(handler)
    assert signature.request_parameter is None
    assert signature.bind({"request": {"a": 1}}) == {"request": Request(1)}


def test_local_classes() -> None:
    """Names that are known where the handler was defined are found while that function runs."""

    @dataclass
    class Inner:
        a: int

    @dataclass
    class Outer:
        inner: Inner
        more: list[Outer] = field(default_factory=list)

    class Local:
        def handler(self, x: Outer) -> Inner: ...  # type: ignore[empty-body]

    bound = compile_signature(Local().handler).bind({"x": {"inner": {"a": 1}, "more": [{"inner": {"a": 2}}]}})
    assert bound == {"x": Outer(Inner(1), [Outer(Inner(2))])}


def test_any_arguments() -> None:
    """A handler that takes keywords, and says no more, gets whatever comes as it came."""

    def handler(a: int, **arguments: Any) -> None: ...

    signature = compile_signature(handler)
    assert signature.parameters is None
    assert signature.parameters != ()
    assert signature.bind({"a": 1, "b-c": None}) == {"a": 1, "b-c": None}
    assert wrong(signature, {"b": 1}) == "Parameter 'a' is missing"


def test_unannotated() -> None:
    """A parameter without annotation takes any JSON value."""
    assert compile_signature(lambda a, b=1: None).bind({"a": None}) == {"a": None}


def test_boxed() -> None:
    """A boxed parameter takes all arguments; those of one variant only are optional parameters."""

    def handler(options: Annotated[Block, Boxed()], request: Request) -> None: ...

    signature = compile_signature(handler)
    assert signature.request_parameter == "request"
    assert signature.bind({"driver": "null", "size": 1}) == {"options": Null("null", 1)}
    assert wrong(signature, {}) == "Parameter 'driver' is missing"
    assert [(p.name, p.optional) for p in signature.parameters or ()] == [
        ("driver", False),
        ("file", True),
        ("size", True),
    ]
    assert signature.boxed is not None
    assert signature.boxed.name == "Block"


class Rainbow(enum.Enum):
    RED = 1


@dataclass
class Twice:
    job_id: str
    job_id_: str


@dataclass
class Untagged:
    a: int


class TaggedStruct(msgspec.Struct, tag="x"):
    a: int


def _positional(a: int, /) -> None: ...


def _twice(job_id: int, job_id_: int) -> None: ...


def _missing_name(a: "NoSuchType") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037


def _bad_result() -> set[int]: ...  # type: ignore[empty-body]


def _boxed_and_more(a: Annotated[Point, Boxed()], b: int) -> None: ...


def _boxed_int(a: Annotated[int, Boxed()]) -> None: ...


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (_positional, "'a' is positional only"),
        (_twice, "two parameters are 'job-id' on the wire"),
        (_missing_name, "can't find 'NoSuchType'"),
        (_bad_result, "set[int] is no type that JSON can say"),
        (_boxed_and_more, "'a' is Boxed, so there are no other parameters"),
        (_boxed_int, "all the arguments together are an object, not int"),
        (5, "can't tell the parameters"),
    ],
)
def test_handlers_refused(handler: Any, words: str) -> None:
    """A handler that can't be a command is refused when it is registered, with its name and the reason."""
    with pytest.raises(RegistrationError) as caught:
        compile_signature(handler)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (bytes, "bytes is no type that JSON can say"),
        (set, "set is no type that JSON can say"),
        (set[int], "set[int] is no type that JSON can say"),
        (object(), "is no type that JSON can say"),
        (Provider, "Provider is no type that JSON can say"),
        (list[bytes], "bytes is no type that JSON can say"),
        (dict[int, str], "the names of an object's members are strings"),
        (tuple[int, str], "a list has elements of one type"),
        (Literal["a", 1], "the values of an enum are strings"),
        (Rainbow, "Rainbow: the values of an enum are strings, not 1"),
        (Twice, "two members have one name on the wire"),
        (str | Color, "two options are both a JSON string"),
        (Point | Line, "two options are both a JSON object"),
        (Any | str if hasattr(Any, "__or__") else Union[str, Any], "a union with any value is just any value"),  # noqa: UP007
        (Annotated[Point | Line, Tagged("driver")], "Point has no member 'driver' that is a Literal"),
        (Annotated[Raw | str, Tagged("driver")], "is no class with members"),
        (Annotated[Raw | OtherRaw, Tagged("driver")], "two classes have 'driver' 'raw'"),
        (TaggedStruct, "say the tag as a member with a Literal"),
        ("list[", "'list[' is not a valid annotation"),
    ],
)
def test_annotations_refused(annotation: Any, words: str) -> None:
    """An annotation that is no type of QAPI's world is refused, with the parameter and the reason."""
    with pytest.raises(RegistrationError) as caught:
        taking(annotation)
    assert words in str(caught.value)
    assert "x" in str(caught.value)


# -- args_type


@pytest.mark.parametrize(
    ("item", "good", "bad"),
    [
        *[(f"x:{letter}", ["a"], [(1, "Invalid parameter type for 'x', expected: string")]) for letter in "FBsS"],
        *[(f"x:{letter}", [1, -1], [(1.0, INTEGER)]) for letter in "il"],
        *[(f"x:{letter}", [1], [(-1, UNSIGNED), (1.0, UNSIGNED)]) for letter in "Mo"],
        ("x:T", [1.5, 2], [("1", "Invalid parameter type for 'x', expected: number")]),
        ("x:b", [True], [("on", "Invalid parameter type for 'x', expected: boolean")]),
        ("x:-d", [True], [(1, "Invalid parameter type for 'x', expected: boolean")]),
        ("x:-ds", ["a"], [(True, "Invalid parameter type for 'x', expected: string")]),
        ("x:O", [{"driver": "e1000"}], [("e1000", "Invalid parameter type for 'x', expected: object")]),
    ],
)
def test_letters(item: str, good: list[Any], bad: list[tuple[Any, str]]) -> None:
    """Each letter is a QMP type; what is optional on a typed line is so in QMP."""

    def handler(x: Any = None) -> None: ...

    del handler.__annotations__["x"]
    signature = compile_signature(handler, args_type=item)
    keywords = compile_signature(lambda **arguments: None, args_type=item)
    for value in good:
        assert signature.bind({"x": value}) == {"x": value}
        assert keywords.bind({"x": value}) == {"x": value}
    for value, desc in bad:
        assert wrong(signature, {"x": value}) == desc
    if "-" in item:
        assert signature.bind({}) == {}
    else:
        assert wrong(signature, {}) == "Parameter 'x' is missing"
        assert compile_signature(handler, args_type=item + "?").bind({}) == {}


def test_format() -> None:
    """C{/} stands for count, format and size."""
    signature = compile_signature(lambda **arguments: None, args_type="fmt:/,addr:l")
    assert signature.bind({"addr": 1, "count": 2, "format": "x", "size": 4}) == {
        "addr": 1,
        "count": 2,
        "format": "x",
        "size": 4,
    }
    assert signature.bind({"addr": 1}) == {"addr": 1}
    assert wrong(signature, {"addr": 1, "fmt": "x"}) == "Parameter 'fmt' is unexpected"


def test_keywords_have_python_names() -> None:
    """A handler that takes any keyword gets declared arguments by names that Python can write."""
    signature = compile_signature(lambda **arguments: None, args_type="cpu-index:i,bps_rd:l")
    assert signature.bind({"cpu-index": 1, "bps_rd": 2}) == {"cpu_index": 1, "bps_rd": 2}


def test_annotation_wins() -> None:
    """Where an annotation goes with the letter, it says what is valid; underscores of the declaration stay on the wire."""

    def handler(bps_rd: UInt8, target: Literal["vm", "vcpu"], extra: int = 0) -> None: ...

    signature = compile_signature(handler, args_type="target:s,bps_rd:i")
    assert [p.name for p in signature.parameters or ()] == ["target", "bps_rd", "extra"]
    assert wrong(signature, {"target": "bad", "bps_rd": 1}) == "Parameter 'target' does not accept value 'bad'"
    assert wrong(signature, {"target": "vm", "bps_rd": 256}) == "Parameter 'bps_rd' expects uint8_t"
    assert signature.bind({"target": "vm", "bps_rd": 1}) == {"target": "vm", "bps_rd": 1}


def _path(path: str) -> None: ...


def _path_freq(path: str, freq: int) -> None: ...


@pytest.mark.parametrize(
    ("handler", "args_type", "words"),
    [
        (_path, "path:i", "the annotation of 'path' does not go with path:i"),
        (_path, "path:s,freq:i", "no parameter takes 'freq'"),
        (_path_freq, "path:s", "does not say what the parameter 'freq' is"),
        (_path_freq, "path:s,freq:i?", "'freq' is optional in args_type, but 'freq' has no default"),
        (_boxed_int, "a:i", "args_type does not go with Boxed"),
    ],
)
def test_args_type_refused(handler: Callable[..., Any], args_type: str, words: str) -> None:
    """A declaration that does not go with the handler is refused when it is registered."""
    with pytest.raises(RegistrationError) as caught:
        compile_signature(handler, args_type=args_type)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("signature", "params"),
    [
        (compile_signature(lambda: None), ""),
        (compile_signature(lambda value, freq=1: None), "value [freq]"),
        (compile_signature(Provider().method), "job-id [from]"),
        (compile_signature(lambda **arguments: None), "[name=value...]"),
        (compile_signature(lambda **a: None, args_type="force:-f,device:B,id:s?"), "[-f] device [id]"),
        (compile_signature(lambda **a: None, args_type="fmt:/,addr:l,index:i.,d:-ds"), "/fmt addr [.index] [-d d]"),
        (compile_signature(lambda **a: None, args_type=""), ""),
    ],
)
def test_default_params(signature: Signature, params: str) -> None:
    """Help shows the parameters as QEMU does: what is required, then what may be left out in brackets."""
    assert default_params(signature) == params
