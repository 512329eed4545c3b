"""
The fast way and the plain one: what the fast one takes the plain one takes too, and what comes of it is the same.
"""

from __future__ import annotations

import os
import random
from collections import UserDict
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.annotation_cases import Case, make_case, make_element_case
from twisted_qmon.errors import GenericError
from twisted_qmon.qapi.compiler import TypeCompiler
from twisted_qmon.qapi.resolve import Scope
from twisted_qmon.qapi.signature import Signature, compile_signature
from twisted_qmon.qapi.types.base import Type
from twisted_qmon.qapi.types.fast import list_encoder
from twisted_qmon.qapi.types.plain import is_plain

#: More of them: C{QMON_EXAMPLES=100000 python -m pytest tests/qapi/test_fast.py}.
EXAMPLES = int(os.environ.get("QMON_EXAMPLES", "300"))


def exact(value: Any) -> Any:
    """:return: a form in which only values are equal that are of the same types all through"""
    if isinstance(value, dict):
        return dict, [(exact(key), exact(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [exact(item) for item in value]
    if hasattr(value, "__dataclass_fields__") or hasattr(value, "__attrs_attrs__"):
        names = getattr(value, "__dataclass_fields__", None) or [item.name for item in value.__attrs_attrs__]
        return type(value), [exact(getattr(value, name)) for name in names]
    if isinstance(value, msgspec.Struct):
        return type(value), exact(msgspec.structs.asdict(value))
    return type(value), repr(value)


def outcome(function: Any, *arguments: Any) -> Any:
    """:return: what a function gives, or what it says is wrong"""
    try:
        return "value", exact(function(*arguments))
    except (GenericError, TypeError) as e:
        return type(e).__name__, str(e)


def some_by_name(x: Any, y: Any = None, *, job_id: Any = None) -> Any:
    """A handler that gives back what it was given."""
    return {"x": x, "y": y, "job_id": job_id}


def all_by_place(x: Any, y: Any, job_id: Any = "none") -> Any:
    """The same, with no argument that must be given by name."""
    return {"x": x, "y": y, "job_id": job_id}


def one(x: Any) -> Any:
    """One with a single argument."""
    return {"x": x}


def signature_of(handler: Any, *annotations: Any) -> Signature:
    """:return: the signature of one of these, with annotations"""
    handler.__annotations__.update(zip(("x", "y", "job_id"), annotations, strict=False))
    return compile_signature(handler)


def compiled(annotation: Any) -> Type:
    """:return: an annotation's type"""
    return TypeCompiler().compile(annotation, Scope({}, {}))


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=st.integers(0, 1 << 62))
def test_arguments(seed: int) -> None:
    """Whichever way arguments take, the handler gets the same values, or the client the same words."""
    rng = random.Random(seed)
    handler: Any = rng.choice([some_by_name, all_by_place, one])
    cases = [make_case(rng, 1) for _ in range(1 if handler is one else 3)]
    signature = signature_of(handler, *[case.annotation for case in cases])
    for _ in range(10):
        arguments = arguments_of(rng, cases)
        expected = outcome(signature.bind, arguments)
        if expected[0] == "value":
            expected = outcome(lambda given: handler(**signature.bind(given)), arguments)
        assert outcome(signature.caller(handler), arguments) == expected


def arguments_of(rng: random.Random, cases: list[Case]) -> dict[str, Any]:
    """:return: arguments for one of the handlers"""
    arguments = {}
    for name, case in zip(("x", "y", "job-id"), cases, strict=False):
        if name == "x" or rng.random() < 0.8:
            arguments[name] = case.incoming()
    if rng.random() < 0.05:
        arguments["extra"] = 1
    return arguments


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=st.integers(0, 1 << 62))
def test_results(seed: int) -> None:
    """Whichever way a result takes, the client gets the same: what the fast way takes the plain one takes."""
    rng = random.Random(seed)
    case = make_element_case(rng)
    type_ = compiled(case.annotation)
    out = type_.fast_out()
    fast = list_encoder(out)
    if out is None or fast is None:
        return
    for _ in range(10):
        values = [case.outgoing() for _ in range(rng.randrange(4))]
        value = rng.choice([list, list, tuple])(values)
        try:
            result = fast(value)
        except Exception:
            continue  # the plain way decides
        assert exact(result) == exact([type_.encode(each) for each in values])


def disguised(value: Any) -> Any:
    """:return: the same data in other containers, none of which passes as it is"""
    if isinstance(value, dict):
        return UserDict({name: disguised(item) for name, item in value.items()})
    return tuple(map(disguised, value)) if isinstance(value, list) else value


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=st.integers(0, 1 << 62))
def test_results_that_pass(seed: int) -> None:
    """What passes as it is, is plain data, and what would come of it if it were looked at part by part."""
    rng = random.Random(seed)
    case = rng.choice([make_case, make_element_case])(rng)
    type_ = compiled(case.annotation)
    for _ in range(10):
        value = case.outgoing()
        if type(value) is type_.passing and (type_.passes is None or type_.passes(value)):
            assert is_plain(value)
            assert exact(type_.encode(disguised(value))) == exact(value)
            assert type_.encode(value) is value
