"""Loads, stores and 64-byte vectors on bare addresses, for kernels that must not write a decoded frame.

numba's arrays know neither an unaligned load of eight bytes nor a vector of 512 bits. Each function here is a handful
of LLVM instructions: on processors with AVX-512 a `Lane` is one register, elsewhere LLVM splits it. Nothing is
checked: the kernels check every bound before. Addresses and words are signed, since numba would mix signed and unsigned
words to a float.

A compiled function is cached by the date of its own file, not of the files whose functions it calls: the kernels that
are built on this file and on `processing.lz4_planes` hold a checksum of them (`tests/processing/test_lz4_planes.py`).
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

LANE_BYTES = 64

Lane = Any
"""A vector of eight 64-bit words, in the annotations of compiled functions."""

_Function = Callable[..., Any]

_BIT, _BYTE, _WORD = ir.IntType(1), ir.IntType(8), ir.IntType(64)
_BITS, _BYTES, _WORDS = ir.VectorType(_BIT, 8), ir.VectorType(_BYTE, LANE_BYTES), ir.VectorType(_WORD, 8)
_NO_WORDS = ir.Constant(_WORDS, [0] * 8)


class LaneType(types.Type):
    """numba's type of a `Lane`."""

    def __init__(self) -> None:
        super().__init__(name="Lane")


_lane, _word, _nothing = LaneType(), types.int64, types.void


@register_model(LaneType)
class _LaneModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend_type: LaneType) -> None:
        super().__init__(manager, frontend_type, _WORDS)


def _instruction(result: types.Type, *arguments: types.Type) -> Callable[[_Function], _Function]:
    """Make a function of compiled code out of one that emits LLVM instructions with a builder and its arguments."""

    def decorate(emit: _Function) -> _Function:
        def lower(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            value = emit(builder, *values)
            return context.get_dummy_value() if value is None else value

        def define_one(_typing: Any, _first: Any) -> Any:
            return result(*arguments), lower

        def define_two(_typing: Any, _first: Any, _second: Any) -> Any:
            return result(*arguments), lower

        define = define_one if len(arguments) == 1 else define_two
        define.__name__, define.__doc__ = emit.__name__, emit.__doc__
        made: _Function = intrinsic(define)
        return made

    return decorate


def _read(builder: Any, address: Any, kind: Any) -> Any:
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    value.align = 1
    return value


def _write(builder: Any, address: Any, value: Any) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = 1


@intrinsic
def _address_of(_typing: Any, array: Any) -> Any:
    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.ptrtoint(context.make_array(signature.args[0])(context, builder, values[0]).data, _WORD)

    return _word(array), lower


address_of: _Function = _address_of
"""Return where the first byte of an array lies."""


@_instruction(_word, _word)
def load_u8(builder: Any, address: Any) -> Any:
    """Return the byte at an address."""
    return builder.zext(_read(builder, address, _BYTE), _WORD)


@_instruction(_word, _word)
def load_u16(builder: Any, address: Any) -> Any:
    """Return the two bytes at an address, little-endian."""
    return builder.zext(_read(builder, address, ir.IntType(16)), _WORD)


@_instruction(_word, _word)
def load_64(builder: Any, address: Any) -> Any:
    """Return the eight bytes at an address as a signed word."""
    return _read(builder, address, _WORD)


@_instruction(_nothing, _word, _word)
def store_u8(builder: Any, address: Any, word: Any) -> None:
    """Write the lowest byte of a word."""
    _write(builder, address, builder.trunc(word, _BYTE))


@_instruction(_nothing, _word, _word)
def store_64(builder: Any, address: Any, word: Any) -> None:
    """Write a word."""
    _write(builder, address, word)


@_instruction(_lane, _word)
def load_lane(builder: Any, address: Any) -> Any:
    """Return the 64 bytes at an address."""
    return _read(builder, address, _WORDS)


@_instruction(_nothing, _word, _lane)
def store_lane(builder: Any, address: Any, lane: Any) -> None:
    """Write 64 bytes."""
    _write(builder, address, lane)


def _repeat(builder: Any, word: Any) -> Any:
    index = ir.IntType(32)
    first = builder.insert_element(ir.Constant(_WORDS, ir.Undefined), word, ir.Constant(index, 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(index, 8), [0] * 8))


@_instruction(_lane, _word)
def lane_of(builder: Any, word: Any) -> Any:
    """Return a lane of eight equal words."""
    return _repeat(builder, word)


@_instruction(_lane, _word, _word)
def lane_of_bits(builder: Any, bits: Any, word: Any) -> Any:
    """Return `word` in every element whose bit is set in the low byte of `bits`, 0 in the others."""
    chosen = builder.bitcast(builder.trunc(bits, _BYTE), _BITS)
    return builder.select(chosen, _repeat(builder, word), _NO_WORDS)


@_instruction(_lane, _lane, _lane)
def lane_and(builder: Any, left: Any, right: Any) -> Any:
    """Return the bits set in both."""
    return builder.and_(left, right)


@_instruction(_lane, _lane, _lane)
def lane_or(builder: Any, left: Any, right: Any) -> Any:
    """Return the bits set in one or both."""
    return builder.or_(left, right)


@_instruction(_lane, _lane, _lane)
def lane_xor(builder: Any, left: Any, right: Any) -> Any:
    """Return the bits set in one only."""
    return builder.xor(left, right)


@_instruction(_lane, _lane, _lane)
def lane_less(builder: Any, left: Any, right: Any) -> Any:
    """Return the bits of `left` without those of `right`."""
    return builder.and_(left, builder.not_(right))


@_instruction(_lane, _lane, _lane)
def lane_add(builder: Any, left: Any, right: Any) -> Any:
    """Return the sums of the words."""
    return builder.add(left, right)


@_instruction(types.boolean, _lane)
def lane_any(builder: Any, lane: Any) -> Any:
    """Return whether any bit is set."""
    words = builder.bitcast(builder.icmp_unsigned("!=", lane, _NO_WORDS), _BYTE)
    return builder.icmp_unsigned("!=", words, ir.Constant(_BYTE, 0))


@_instruction(_lane, _lane)
def lane_popcount(builder: Any, lane: Any) -> Any:
    """Return the number of set bits of each word."""
    count = ir.FunctionType(_WORDS, [_WORDS])
    return builder.call(cgutils.get_or_insert_function(builder.module, count, "llvm.ctpop.v8i64"), [lane])


@_instruction(_lane, _lane, _lane)
def lane_pick_bytes(builder: Any, lane: Any, index: Any) -> Any:
    """Return as byte i byte ``index[i] % 64`` of `lane`: one instruction of AVX-512 VBMI (`HAS_BYTE_PERMUTE`)."""
    permute = ir.FunctionType(_BYTES, [_BYTES, _BYTES])
    function = cgutils.get_or_insert_function(builder.module, permute, "llvm.x86.avx512.permvar.qi.512")
    return builder.bitcast(
        builder.call(function, [builder.bitcast(lane, _BYTES), builder.bitcast(index, _BYTES)]), _WORDS
    )


@_instruction(_lane, _word, _lane)
def lane_pick_of_16(builder: Any, address: Any, index: Any) -> Any:
    """Return as byte i byte ``index[i] % 16`` of the 16 at an address: AVX-512 BW (`HAS_BYTE_SHUFFLE`)."""
    kind = ir.VectorType(_WORD, 2)
    index_type = ir.VectorType(ir.IntType(32), 8)
    pair = _read(builder, address, kind)
    lane = builder.shuffle_vector(pair, ir.Constant(kind, ir.Undefined), ir.Constant(index_type, [0, 1] * 4))
    shuffle = ir.FunctionType(_BYTES, [_BYTES, _BYTES])
    function = cgutils.get_or_insert_function(builder.module, shuffle, "llvm.x86.avx512.pshuf.b.512")
    return builder.bitcast(
        builder.call(function, [builder.bitcast(lane, _BYTES), builder.bitcast(index, _BYTES)]), _WORDS
    )


# what numba compiles for, which NUMBA_CPU_NAME and NUMBA_CPU_FEATURES may narrow
_FEATURES: list[str] = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
HAS_BYTE_PERMUTE: bool = "+avx512vbmi" in _FEATURES
HAS_BYTE_SHUFFLE: bool = "+avx512bw" in _FEATURES
