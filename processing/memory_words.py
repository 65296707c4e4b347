"""Loads, stores and 64-byte vectors on bare addresses, for kernels that must not write a decoded frame.

numba's arrays cannot express an unaligned load of eight bytes or a vector of 512 bits. The intrinsics here are single
LLVM instructions: on processors with AVX-512 a `lane` is one register, elsewhere LLVM splits it. Nothing is checked:
the kernels that use them check every bound before.

Compiled callers are cached by the date of their own file only: after a change here remove ``__pycache__``.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

LANE_BYTES = 64

_BYTE, _BIT, _WORD = ir.IntType(8), ir.IntType(1), ir.IntType(64)
_WORDS, _BYTES = ir.VectorType(_WORD, 8), ir.VectorType(_BYTE, LANE_BYTES)


class LaneType(types.Type):
    """Type of a vector of eight 64-bit words, only within compiled code."""

    def __init__(self) -> None:
        super().__init__(name="Lane")


lane = LaneType()
Lane = Any
"""A lane in the annotations of compiled functions."""


@register_model(LaneType)
class _LaneModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend_type: LaneType) -> None:
        super().__init__(manager, frontend_type, _WORDS)


def _read(builder: Any, address: Any, kind: Any) -> Any:
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    value.align = 1
    return value


def _write(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = 1


@intrinsic
def address_of(typing: Any, array: Any) -> Any:
    """Return where an array's first byte lies, as a signed word: numba would mix an unsigned one to a float."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, _WORD)

    return types.int64(array), emit


def _loader(bits: int) -> Callable[[int], int]:
    @intrinsic
    def load(typing: Any, address: Any) -> Any:
        def emit(_: Any, builder: Any, __: Any, args: Any) -> Any:
            value = _read(builder, args[0], ir.IntType(bits))
            return value if bits == 64 else builder.zext(value, _WORD)

        return types.int64(types.int64), emit

    return load


load_u8, load_u16, load_64 = _loader(8), _loader(16), _loader(64)


@intrinsic
def store_64(typing: Any, address: Any, word: Any) -> Any:
    """Write eight bytes."""

    def emit(context: Any, builder: Any, _: Any, args: Any) -> Any:
        _write(builder, args[1], args[0])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def store_u8(typing: Any, address: Any, byte: Any) -> Any:
    """Write the lowest byte of a word."""

    def emit(context: Any, builder: Any, _: Any, args: Any) -> Any:
        _write(builder, builder.trunc(args[1], _BYTE), args[0])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def load_lane(typing: Any, address: Any) -> Any:
    """Return the 64 bytes at an address."""

    def emit(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return _read(builder, args[0], _WORDS)

    return lane(types.int64), emit


@intrinsic
def store_lane(typing: Any, address: Any, value: Any) -> Any:
    """Write 64 bytes."""

    def emit(context: Any, builder: Any, _: Any, args: Any) -> Any:
        _write(builder, args[1], args[0])
        return context.get_dummy_value()

    return types.void(types.int64, lane), emit


@intrinsic
def lane_of(typing: Any, word: Any) -> Any:
    """Return a lane of eight equal words."""

    def emit(_: Any, builder: Any, __: Any, args: Any) -> Any:
        one = builder.insert_element(ir.Constant(_WORDS, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)
        return builder.shuffle_vector(one, ir.Constant(_WORDS, ir.Undefined), zeros)

    return lane(types.int64), emit


def _binary(operation: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any], Any]:
    @intrinsic
    def apply(typing: Any, left: Any, right: Any) -> Any:
        def emit(_: Any, builder: Any, __: Any, args: Any) -> Any:
            return operation(builder, args[0], args[1])

        return lane(lane, lane), emit

    return apply


lane_and = _binary(lambda builder, left, right: builder.and_(left, right))
lane_or = _binary(lambda builder, left, right: builder.or_(left, right))
lane_xor = _binary(lambda builder, left, right: builder.xor(left, right))
lane_less = _binary(lambda builder, left, right: builder.and_(left, builder.not_(right)))  # left without right's bits
lane_add = _binary(lambda builder, left, right: builder.add(left, right))


@intrinsic
def lane_any(typing: Any, value: Any) -> Any:
    """Return whether any bit is set."""

    def emit(_: Any, builder: Any, __: Any, args: Any) -> Any:
        words = builder.icmp_unsigned("!=", args[0], ir.Constant(_WORDS, [0] * 8))
        return builder.icmp_unsigned("!=", builder.bitcast(words, _BYTE), ir.Constant(_BYTE, 0))

    return types.boolean(lane), emit


@intrinsic
def lane_popcount(typing: Any, value: Any) -> Any:
    """Return the number of set bits of each word."""

    def emit(_: Any, builder: Any, __: Any, args: Any) -> Any:
        kind = ir.FunctionType(_WORDS, [_WORDS])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.ctpop.v8i64"), args)

    return lane(lane), emit


@intrinsic
def lane_of_bits(typing: Any, bits: Any, word: Any) -> Any:
    """Return `word` in every element whose bit is set in the low byte of `bits`, zero in the others."""

    def emit(context: Any, builder: Any, _: Any, args: Any) -> Any:
        chosen = builder.bitcast(builder.trunc(args[0], _BYTE), ir.VectorType(_BIT, 8))
        all_words = lane_of._defn(typing, word)[1](context, builder, None, [args[1]])  # noqa: SLF001
        return builder.select(chosen, all_words, ir.Constant(_WORDS, [0] * 8))

    return lane(types.int64, types.int64), emit


@intrinsic
def lane_pick_bytes(typing: Any, value: Any, index: Any) -> Any:
    """Return byte ``index[i] % 64`` of `value` as byte i; one instruction of AVX-512 VBMI (`HAS_BYTE_PERMUTE`)."""

    def emit(_: Any, builder: Any, __: Any, args: Any) -> Any:
        kind = ir.FunctionType(_BYTES, [_BYTES, _BYTES])
        permute = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.permvar.qi.512")
        picked = builder.call(permute, [builder.bitcast(arg, _BYTES) for arg in args])
        return builder.bitcast(picked, _WORDS)

    return lane(lane, lane), emit


# what numba compiles for, which NUMBA_CPU_NAME and NUMBA_CPU_FEATURES may narrow
HAS_BYTE_PERMUTE: bool = "+avx512vbmi" in cpu_target.target_context.codegen().magic_tuple()[2].split(",")
